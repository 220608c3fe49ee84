//! Conversations as the kernel side tells them.
