//! An open source file of a file system that de-identifies: its header is rewritten when it is first
//! read, its pixels are read from where they are.

use std::sync::{Arc, OnceLock};

use super::content::clamp;
use super::{Error, ReadReply};
use crate::archive::{self, Record, Source};
use crate::dicom::deid::Rewritten;
use crate::fetch;
use crate::library::{Veil, VeilError};

/// The file.
pub(super) struct VeiledFile {
    veil: Arc<Veil>,
    source: Arc<Source>,
    record: Arc<Record>,
    /// What `stat` says.
    len_bytes: u64,
    rewritten: OnceLock<Result<Rewritten, Error>>,
}

impl VeiledFile {
    pub(super) fn new(
        veil: Arc<Veil>,
        source: Arc<Source>,
        record: Arc<Record>,
        len_bytes: u64,
    ) -> VeiledFile {
        VeiledFile {
            veil,
            source,
            record,
            len_bytes,
            rewritten: OnceLock::new(),
        }
    }

    /// Reads from the archive: not to be called on a thread that serves requests.
    pub(super) fn read(&self, offset: u64, size_bytes: u64, reply: ReadReply) {
        match self.bytes(offset, size_bytes) {
            Ok(bytes) => reply.send(Ok(&bytes)),
            Err(error) => reply.send(Err(error)),
        }
    }

    fn bytes(&self, offset: u64, size_bytes: u64) -> Result<Vec<u8>, Error> {
        let rewritten = self.rewritten.get_or_init(|| self.rewrite());
        let rewritten = rewritten.as_ref().map_err(Error::clone)?;
        let (start, end) = clamp(offset, size_bytes, self.len_bytes);
        let of_source = |error: archive::Error| Error::from(fetch::Error::from(error));
        let file = self.source.open(&self.record).map_err(of_source)?;
        let bytes = rewritten.read(&file, start..end);
        let bytes = bytes.map_err(|error| Error::from(fetch::Error::from(error)))?;
        // What was written to it meanwhile is not to be among the bytes.
        self.source.verify(&file, &self.record).map_err(of_source)?;
        Ok(bytes)
    }

    fn rewrite(&self) -> Result<Rewritten, Error> {
        let (rewritten, _) = self.veil.open(&self.record).map_err(|why| match why {
            VeilError::Source(error) => Error::from(fetch::Error::from(error)),
            VeilError::Header(error) => Error::from(fetch::Error::from(error)),
        })?;
        // The length that was told is zero where the header could not be read then.
        if rewritten.len_bytes() != self.len_bytes {
            return Err(Error::Changed("not as long as it was listed".into()));
        }
        Ok(rewritten)
    }
}
