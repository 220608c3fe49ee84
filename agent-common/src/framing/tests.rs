//! Cases picked by hand; the random ones are in the modules below.
