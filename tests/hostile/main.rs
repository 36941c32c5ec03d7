//! What a hostile plugin costs.
