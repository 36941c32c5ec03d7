//! Fields that are left out.

/// Whether a field is as it would be if it were left out: then it is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
