//! Receipts: what the log says of one request, with the proof that it does.

use serde::{Deserialize, Serialize};
use tlog::{note::Note, proof::LogProof};

use crate::{
    Audit, Record,
    log::{Checkpointed, LogError},
};

/// The version of the form of receipts.
const VERSION: u32 = 1;
/// Most entries of one receipt: a beginning, its end, and what else the request led to.
const ENTRIES_MAX: usize = 16;

/// What the log says of one request: its records, byte for byte, each with the proof that it is in the log. The proofs need
/// nothing of the server to be verified, but the log's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this form.
    pub version: u32,
    /// The request.
    pub request: String,
    /// Its records, in the order in which they were written.
    pub entries: Vec<Proved>,
    /// What the commitments in them are made with (64 hexadecimal digits): whoever has the texts of question and answer can show with it that
    /// they were these. None if nothing is committed to, or the person was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// A record and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// The record, exactly as it is in the log.
    pub entry: String,
    /// The proof, in the format `tlog-proof` of C2SP: where it is, the path to the root, and a signed checkpoint.
    pub proof: String,
}

impl Audit {
    /// The records of a request, with their indexes; none if it has none. Blocks.
    pub fn records_of(&self, request: types::RequestId) -> Result<Vec<(u64, Record)>, LogError> {
        let mut records = Vec::new();
        for index in self.log().find(request.0)?.into_iter().take(ENTRIES_MAX) {
            if let Ok(record) = Record::parse(&self.log().entry(index)?) {
                records.push((index, record));
            }
        }
        Ok(records)
    }

    /// A receipt of these entries of a request. They must be below the size of the newest checkpoint. A checkpoint that witnesses have
    /// countersigned is preferred, if it covers them. Blocks.
    pub fn receipt(&self, request: types::RequestId, indexes: &[u64]) -> Result<Receipt, LogError> {
        let covers = |cosigned: &Checkpointed| {
            // After an older copy was put back it may be one of another log.
            cosigned.size <= self.log().size() && indexes.iter().all(|index| *index < cosigned.size)
        };
        let checkpoint = self.cosigned_checkpoint().filter(covers).unwrap_or_else(|| self.log().checkpoint());
        let note = Note::parse(checkpoint.note.as_bytes())
            .map_err(|error| LogError::Damaged { path: "checkpoint".to_owned(), why: error.to_string() })?;
        let proved = |index: &u64| {
            let proof = self.log().inclusion_proof(*index, checkpoint.size)?;
            let proof = LogProof { index: *index, proof, checkpoint: note.clone(), extra: None };
            let entry = String::from_utf8(self.log().entry(*index)?).map_err(|_| LogError::Damaged {
                path: format!("entry {index}"),
                why: "it is not UTF-8".to_owned(),
            })?;
            Ok(Proved { entry, proof: proof.to_string() })
        };
        let entries = indexes.iter().map(proved).collect::<Result<_, LogError>>()?;
        Ok(Receipt { version: VERSION, request: request.to_string(), entries, salt: None })
    }
}
