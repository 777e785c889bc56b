//! Receipts: what the log says of one request, with the proof that it does.

use serde::{Deserialize, Serialize};
use tlog::{
    note::Note,
    proof::{LogProof, RECEIPT_ENTRIES_MAX},
};

use crate::{
    Audit, Record,
    log::{Checkpointed, LogError},
};

/// The version of the form of receipts.
const VERSION: u32 = 1;

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
    /// The first [`RECEIPT_ENTRIES_MAX`] records of a request, with their indexes; none if it has none. Blocks.
    pub fn records_of(&self, request: types::RequestId) -> Result<Vec<(u64, Record)>, LogError> {
        let mut records = Vec::new();
        for index in self.log().find(request.0)?.into_iter().take(RECEIPT_ENTRIES_MAX) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use types::RequestId;

    use super::*;
    use crate::{Erases, Happening};

    /// Not more than whoever checks receipts takes.
    #[tokio::test]
    async fn a_receipt_has_no_more_entries_than_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (log, key) = (folder.path().join("audit"), crate::secret_file(&folder.path().join("audit.key")));
        let (audit, _) = Audit::open(&log, &key, Arc::new(Erases)).await.unwrap();
        let request = RequestId(7);
        for _ in 0..=RECEIPT_ENTRIES_MAX {
            let happening = Happening { request: Some(request), ..Happening::of("thing", "done") };
            audit.note(happening).await.unwrap();
        }
        audit.log().checkpoint_now().await.unwrap();
        let found = audit.records_of(request).unwrap();
        let indexes: Vec<u64> = found.iter().map(|(index, _)| *index).collect();
        let first: Vec<u64> = (0..RECEIPT_ENTRIES_MAX as u64).collect();
        assert_eq!(indexes, first);
        let receipt = audit.receipt(request, &indexes).unwrap();
        for Proved { entry, proof } in &receipt.entries {
            proof.parse::<LogProof>().unwrap().verify(entry.as_bytes(), audit.key()).unwrap();
        }
        assert_eq!(receipt.entries.len(), RECEIPT_ENTRIES_MAX);
    }
}
