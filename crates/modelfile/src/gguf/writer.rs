//! Writes a GGUF file: what an import makes, and what tests need.

use std::io::{self, Write};

use super::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, Tensor, VERSION, ValueType};
use crate::TensorType;

/// Bytes of zeros written at once.
const ZEROS: [u8; 4096] = [0; 4096];

/// The metadata and the descriptions of a file to be written. It writes what it is told, in that order, and judges
/// nothing: [`Gguf::read`](super::Gguf::read) does.
///
/// ```
/// use modelfile::{Gguf, TensorType, Writer};
///
/// let mut file = Writer::new();
/// file.text("general.architecture", "llama").u32("llama.block_count", 2);
/// file.tensor("token_embd.weight", &[32, 4], TensorType::F32);
///
/// let mut data = file.begin(Vec::new())?;
/// data.push(&[0; 32 * 4 * 4])?;
/// let bytes = data.finish()?;
///
/// let read = Gguf::read(&mut bytes.as_slice(), bytes.len() as u64)?;
/// assert_eq!(read.tensors[0].bytes, 512);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Writer {
    alignment: u64,
    keys: u64,
    metadata: Vec<u8>,
    tensors: Vec<Tensor>,
    /// Bytes of data so far, with padding.
    data_bytes: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            alignment: ALIGNMENT_DEFAULT,
            keys: 0,
            metadata: Vec::new(),
            tensors: Vec::new(),
            data_bytes: 0,
        }
    }
}

impl Writer {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key, ValueType::Text);
        put_text(&mut self.metadata, value);
        self
    }

    /// Adds an integer of 16 bits.
    pub fn u16(&mut self, key: &str, value: u16) -> &mut Self {
        self.raw(key, ValueType::U16, &value.to_le_bytes())
    }

    /// Adds an integer of 32 bits: what almost every hyperparameter is.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, ValueType::U32, &value.to_le_bytes())
    }

    /// Adds a floating-point number.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, ValueType::F32, &value.to_le_bytes())
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, ValueType::Bool, &[value.into()])
    }

    /// Adds an array of texts.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) -> &mut Self {
        self.array(key, ValueType::Text, values, |bytes, value| put_text(bytes, value.as_ref()))
    }

    /// Adds an array of integers without a sign.
    pub fn u32s(&mut self, key: &str, values: &[u32]) -> &mut Self {
        self.array(key, ValueType::U32, values, |bytes, value| bytes.extend(value.to_le_bytes()))
    }

    /// Adds an array of integers with a sign.
    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        self.array(key, ValueType::I32, values, |bytes, value| bytes.extend(value.to_le_bytes()))
    }

    /// Adds an array of floating-point numbers.
    pub fn f32s(&mut self, key: &str, values: &[f32]) -> &mut Self {
        self.array(key, ValueType::F32, values, |bytes, value| bytes.extend(value.to_le_bytes()))
    }

    /// Adds an array of truth values.
    pub fn bools(&mut self, key: &str, values: &[bool]) -> &mut Self {
        self.array(key, ValueType::Bool, values, |bytes, value| bytes.push(u8::from(*value)))
    }

    /// Adds a value of any type as the bytes that stand in the file.
    pub fn raw(&mut self, key: &str, kind: ValueType, value: &[u8]) -> &mut Self {
        self.key(key, kind);
        self.metadata.extend(value);
        self
    }

    /// Makes tensors begin at multiples of this many bytes, a power of two. Comes before the first tensor.
    pub fn alignment(&mut self, bytes: u32) -> &mut Self {
        self.alignment = u64::from(bytes).max(1);
        self.u32(ALIGNMENT_KEY, bytes)
    }

    /// Adds the description of a tensor; its data comes in the same order.
    pub fn tensor(&mut self, name: &str, dimensions: &[u64], kind: TensorType) -> &mut Self {
        let elements =
            dimensions.iter().fold(1, |product: u64, dimension| product.saturating_mul(*dimension));
        let bytes = kind.bytes(elements).unwrap_or(u64::MAX);
        let (name, dimensions) = (name.to_owned(), dimensions.to_owned());
        self.tensors.push(Tensor { name, dimensions, kind, offset: self.data_bytes, bytes });
        let end = self.data_bytes.saturating_add(bytes);
        self.data_bytes = end.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        self
    }

    /// The descriptions so far, in their order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The length of all data, with padding, in bytes.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The header: all but the data, up to where it begins.
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend(self.keys.to_le_bytes());
        head.extend(&self.metadata);
        for tensor in &self.tensors {
            put_text(&mut head, &tensor.name);
            head.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|dimension| head.extend(dimension.to_le_bytes()));
            head.extend(tensor.kind.number().to_le_bytes());
            head.extend(tensor.offset.to_le_bytes());
        }
        head.resize(head.len().next_multiple_of(self.alignment as usize), 0);
        head
    }

    /// Writes all but the data, and takes the data.
    pub fn begin<W: Write>(&self, mut out: W) -> io::Result<Data<'_, W>> {
        out.write_all(&self.head())?;
        Ok(Data { file: self, out, current: 0, written: 0 })
    }

    /// The whole file, with data of zeros.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut data = self.begin(Vec::new())?;
        for tensor in &self.tensors {
            data.zeros(tensor.bytes)?;
        }
        data.finish()
    }

    fn key(&mut self, key: &str, kind: ValueType) {
        self.keys += 1;
        put_text(&mut self.metadata, key);
        self.metadata.extend(kind.number().to_le_bytes());
    }

    fn array<T>(
        &mut self,
        key: &str,
        kind: ValueType,
        values: &[T],
        put: impl Fn(&mut Vec<u8>, &T),
    ) -> &mut Self {
        self.key(key, ValueType::Array);
        self.metadata.extend(kind.number().to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        for value in values {
            put(&mut self.metadata, value);
        }
        self
    }
}

/// Takes the data of the tensors, in the order of their descriptions.
#[derive(Debug)]
pub struct Data<'w, W> {
    file: &'w Writer,
    out: W,
    /// The tensor whose data comes next.
    current: usize,
    /// Bytes of its data so far.
    written: u64,
}

impl<W: Write> Data<'_, W> {
    /// Writes more of the current tensor's data. A whole tensor is followed by its padding.
    ///
    /// # Errors
    /// What the system says, and [`InvalidInput`](io::ErrorKind::InvalidInput) for more data than was described.
    pub fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.advance(chunk.len() as u64, |out| out.write_all(chunk))
    }

    /// Writes this many zeros of the current tensor's data.
    pub fn zeros(&mut self, bytes: u64) -> io::Result<()> {
        self.advance(bytes, |out| put_zeros(out, bytes))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// What the system says, and [`InvalidInput`](io::ErrorKind::InvalidInput) if a tensor lacks data.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(tensor) = self.file.tensors.get(self.current) {
            return Err(not_as_described(&tensor.name, self.written, tensor.bytes));
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn advance(&mut self, bytes: u64, write: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        let Some(tensor) = self.file.tensors.get(self.current) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "data for more tensors than were described",
            ));
        };
        let after = self.written.saturating_add(bytes);
        if after > tensor.bytes {
            return Err(not_as_described(&tensor.name, after, tensor.bytes));
        }
        write(&mut self.out)?;
        self.written = after;
        if after == tensor.bytes {
            put_zeros(&mut self.out, after.next_multiple_of(self.file.alignment) - after)?;
            (self.current, self.written) = (self.current + 1, 0);
        }
        Ok(())
    }
}

fn not_as_described(name: &str, got: u64, described: u64) -> io::Error {
    let text = format!("tensor `{name}` was described with {described} bytes and got {got}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_zeros(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let now = left.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..now as usize])?;
        left -= now;
    }
    Ok(())
}
