//! Hand-picked cases.
