//! Image references, digests and patterns. Written by a helper.
