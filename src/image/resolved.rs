//! A manifest together with the proof that it is the one a digest names.
//!
//! The only constructors hash the bytes, so whatever came over the network (a registry's `Docker-Content-Digest`
//! header, a mirror's word) cannot reach a later step as the identity of an image. The media type is the registry's
//! claim, unproven: a manifest that carries its own `mediaType` must be compared by whoever parses it.

use std::sync::Arc;

use thiserror::Error;

use super::{Digest, ImageReference, Repository};

/// A manifest's bytes are not those that the digest names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the manifest's bytes have the digest {found}, not {expected}")]
pub struct DigestMismatch {
    /// The digest that was asked for.
    pub expected: Digest,
    /// The digest of the bytes that came.
    pub found: Digest,
}

/// An image manifest or index whose bytes were hashed here. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reference: ImageReference,
    digest: Digest,
    manifest: Vec<u8>,
    media_type: String,
}

impl ImageReference {
    /// Binds this reference to the manifest's bytes. A reference that carries a digest accepts no others; for a tag,
    /// the digest of the bytes becomes the image's identity, and it is for the caller to resolve a tag once.
    pub fn resolve(&self, manifest: Vec<u8>, media_type: String) -> Result<ResolvedImage, DigestMismatch> {
        let found = Digest::of(&manifest);
        match self.digest() {
            Some(expected) if *expected != found => Err(DigestMismatch { expected: expected.clone(), found }),
            _ => Ok(ResolvedImage::new(self.clone(), found, manifest, media_type)),
        }
    }
}

impl ResolvedImage {
    fn new(reference: ImageReference, digest: Digest, manifest: Vec<u8>, media_type: String) -> Self {
        Self { inner: Arc::new(Inner { reference, digest, manifest, media_type }) }
    }

    /// Binds the bytes of another manifest of the same repository to `digest`, which the caller took from this index.
    pub fn child(&self, digest: &Digest, manifest: Vec<u8>, media_type: String) -> Result<Self, DigestMismatch> {
        ImageReference::at(self.repository().clone(), digest.clone()).resolve(manifest, media_type)
    }

    /// The reference that was resolved; for a child, its repository and digest.
    pub fn reference(&self) -> &ImageReference {
        &self.inner.reference
    }

    /// The repository that holds the manifest.
    pub fn repository(&self) -> &Repository {
        self.inner.reference.repository()
    }

    /// The digest of [`manifest`](Self::manifest).
    pub fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    /// The bytes, unparsed.
    pub fn manifest(&self) -> &[u8] {
        &self.inner.manifest
    }

    /// The media type that the registry claimed.
    pub fn media_type(&self) -> &str {
        &self.inner.media_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

    fn reference(text: &str) -> ImageReference {
        ImageReference::parse(text).unwrap()
    }

    #[test]
    fn takes_the_digest_of_a_tag_from_the_bytes() {
        let image = reference("ghcr.io/acme/app:1").resolve(b"{}".to_vec(), MEDIA_TYPE.into()).unwrap();
        assert_eq!(*image.digest(), Digest::of(b"{}"));
        assert_eq!(image.manifest(), b"{}");
        assert_eq!(image.media_type(), MEDIA_TYPE);
        assert_eq!(image.repository().to_string(), "ghcr.io/acme/app");
        assert_eq!(image.reference().tag(), Some("1"));
    }

    #[test]
    fn refuses_bytes_that_the_reference_does_not_name() {
        let named = reference(&format!("ghcr.io/acme/app:1@{}", Digest::of(b"{}")));
        assert!(named.resolve(b"{}".to_vec(), MEDIA_TYPE.into()).is_ok());
        assert_eq!(
            named.resolve(b"{ }".to_vec(), MEDIA_TYPE.into()).unwrap_err(),
            DigestMismatch { expected: Digest::of(b"{}"), found: Digest::of(b"{ }") }
        );
    }

    #[test]
    fn binds_children_to_their_digest_in_the_same_repository() {
        let index = reference("nginx").resolve(b"index".to_vec(), MEDIA_TYPE.into()).unwrap();
        let child = index.child(&Digest::of(b"child"), b"child".to_vec(), MEDIA_TYPE.into()).unwrap();
        assert_eq!(child.reference().to_string(), format!("docker.io/library/nginx@{}", Digest::of(b"child")));
        assert_eq!(child.reference().tag(), None);
        assert!(index.child(&Digest::of(b"child"), b"other".to_vec(), MEDIA_TYPE.into()).is_err());
    }
}
