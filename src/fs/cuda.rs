//! What an open `volume.cuda.json` holds: a lease of the volume in device memory, and the text that says
//! how to map it.
//!
//! Opening begins to bring the volume there and returns at once; a read waits, without a thread. The
//! text is this handle's alone: it names the lease, which ends with the handle.

use std::sync::Arc;

use super::content::part;
use super::view::stream;
use super::{Error, ReadReply};
use crate::archive::Source;
use crate::fetch::{Export, ExportWay, Fetcher, Lease};
use crate::format::cuda;
use crate::volume::{Variant, Volume};

/// An open `volume[.<op>].cuda.json`.
pub(super) struct CudaFile {
    lease: Lease,
    volume: Arc<Volume>,
    variant: Variant,
}

impl CudaFile {
    /// Takes a lease of a volume for a user.
    ///
    /// # Errors
    /// [`Error::NoDevice`] without a device, [`Error::TooLarge`] for a volume that none may hold, and
    /// what keeps the volume's slab from being opened.
    pub(super) fn open(
        fetcher: &Fetcher,
        source: &Arc<Source>,
        volume: &Arc<Volume>,
        variant: Variant,
        uid: u32,
    ) -> Result<CudaFile, Error> {
        let stream = stream(fetcher, source, volume, variant)?;
        Ok(CudaFile {
            lease: fetcher.lease(&stream, uid)?,
            volume: volume.clone(),
            variant,
        })
    }

    /// Reads; answers through `reply`, at once or when the volume is resident.
    pub(super) fn read(&self, offset: u64, size_bytes: u64, reply: ReadReply) {
        let (volume, variant) = (self.volume.clone(), self.variant);
        self.lease.when_resident(move |settled| {
            let text = settled
                .map_err(Error::from)
                .and_then(|export| text(&volume, variant, &export));
            match text {
                Ok(text) => reply.send(Ok(part(&text, offset, size_bytes))),
                Err(error) => reply.send(Err(error)),
            }
        });
    }
}

fn text(volume: &Volume, variant: Variant, export: &Export) -> Result<Vec<u8>, Error> {
    let handle = match &export.way {
        ExportWay::Socket { path, token } => cuda::Handle::PosixFd {
            socket: path,
            token,
            allocation_bytes: export.allocation_bytes,
        },
        ExportWay::Ipc(hex) => cuda::Handle::CudaIpc { hex },
    };
    let device = cuda::Device {
        ordinal: export.ordinal,
        uuid: &export.device_uuid,
    };
    cuda::json(volume, variant, device, handle).map_err(|why| Error::Malformed(why.to_string()))
}

#[cfg(test)]
mod tests;
