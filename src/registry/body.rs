//! Response bodies, read chunk by chunk up to a cap.
//!
//! No body is decompressed (the client is built without any codec) and none is read without a cap; the bodies of
//! errors are not read at all. Time is the caller's to bound.

use reqwest::Response;

use super::RegistryError;
use super::transport::request_error;

/// Memory set aside before anything has arrived, however much a header promises.
const FIRST_ALLOCATION: u64 = 64 << 10;

/// The whole body, or [`TooLarge`](RegistryError::TooLarge): at once if the header says so, else when it is.
pub(super) async fn read(mut response: Response, cap: u64, what: &'static str) -> Result<Vec<u8>, RegistryError> {
    let announced = response.content_length().unwrap_or_default();
    if announced > cap {
        return Err(RegistryError::TooLarge { what, cap });
    }
    let url = response.url().clone();
    let mut bytes = Vec::with_capacity(usize::try_from(announced.min(FIRST_ALLOCATION)).unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(|error| request_error(&url, &error, what))? {
        let length = u64::try_from(bytes.len() + chunk.len()).unwrap_or(u64::MAX);
        if length > cap {
            return Err(RegistryError::TooLarge { what, cap });
        }
        // Twice as much at a time, and never more than the cap, so that the memory is what was made room for.
        if bytes.capacity() < bytes.len() + chunk.len() {
            let most = usize::try_from(cap).unwrap_or(usize::MAX);
            let wanted = bytes.capacity().saturating_mul(2).min(most).max(bytes.len() + chunk.len());
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes.shrink_to_fit();
    Ok(bytes)
}
