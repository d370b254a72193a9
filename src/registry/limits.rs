//! How much a registry may make us read: bytes per document, entries per list, candidates and bytes per image.
//!
//! These are caps, not buffers: whatever passes one is refused as a whole and never cut to size, because a truncated
//! list of signatures is a list that its author chose. The [distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md)
//! sets one figure, 4 MiB for manifests; the others are ours.

/// Bytes in a manifest or index that is an image.
pub(super) const MANIFEST_BYTES: u64 = 4 << 20;
/// Bytes in one page of a referrers listing, and in a layout's `index.json`.
pub(super) const LISTING_BYTES: u64 = 1 << 20;
/// Entries in a referrers listing, over all its pages, and in a layout's `index.json`.
pub(super) const LISTING_ENTRIES: usize = 1_000;
/// Bytes in a referrers listing, over all its pages.
pub(super) const REFERRERS_BYTES: u64 = 2 << 20;
/// Pages of one referrers listing.
pub(super) const LISTING_PAGES: usize = 10;
/// Bytes in the answer of a token service.
pub(super) const TOKEN_BYTES: u64 = 64 << 10;
/// Requests for the parts of one image at a time.
pub(super) const CONCURRENCY: usize = 8;
/// Descendants of one index.
pub(super) const CHILDREN: usize = 64;
/// Annotations of one descriptor: genuine ones have some ten, and each takes many times its bytes once it is parsed.
pub(super) const ANNOTATIONS: usize = 128;
/// Levels of indexes below one another, the outermost included.
pub(super) const INDEX_DEPTH: usize = 2;
/// Redirects that one request may take.
pub(super) const REDIRECTS: usize = 5;

/// The caps of one image's discovery, which a policy may move; the rest of the module's are constants.
///
/// There is no cap on error bodies (8 KiB in the design) because no error body is ever read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a DSSE envelope layer.
    pub attestation_layer_bytes: u64,
    /// Bytes in a Sigstore bundle layer.
    pub bundle_bytes: u64,
    /// Candidate signatures per image, duplicates removed; also manifests looked into for candidates.
    pub candidates: usize,
    /// Bytes in an index that stands under the referrers fallback tag.
    pub listing_bytes: u64,
    /// Entries in that index.
    pub listing_entries: usize,
    /// Bytes in a manifest that lists signatures; genuine ones keep some 17 KiB of annotations for each.
    pub manifest_bytes: u64,
    /// Bytes in a simple signing payload.
    pub simple_signing_bytes: u64,
    /// Bytes of manifests and candidates together, per image.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attestation_layer_bytes: 16 << 20,
            bundle_bytes: 1 << 20,
            candidates: 64,
            listing_bytes: LISTING_BYTES,
            listing_entries: LISTING_ENTRIES,
            manifest_bytes: 2 << 20,
            simple_signing_bytes: 64 << 10,
            total_bytes: 64 << 20,
        }
    }
}
