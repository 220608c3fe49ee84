//! HPACK as nghttp2 does it: what the decoder is held against.

use std::{ffi::c_int, ptr, slice};

use libnghttp2_sys as sys;

/// Names and values, in order.
pub type HeaderList = Vec<(Vec<u8>, Vec<u8>)>;

/// nghttp2's decoder.
pub struct Inflater(*mut sys::nghttp2_hd_inflater);

/// nghttp2's encoder.
pub struct Deflater(*mut sys::nghttp2_hd_deflater);

impl Inflater {
    /// Of a new connection.
    ///
    /// # Panics
    ///
    /// Without memory.
    #[must_use]
    pub fn new() -> Self {
        let mut inflater = ptr::null_mut();
        // SAFETY: writes a pointer, which is checked.
        let outcome = unsafe { sys::nghttp2_hd_inflate_new(&raw mut inflater) };
        assert_eq!(outcome, 0, "expected memory");
        Self(inflater)
    }

    /// Decodes a block; none if it is none, after which nothing can be decoded any more.
    pub fn inflate(&mut self, mut block: &[u8]) -> Option<HeaderList> {
        let mut list = HeaderList::new();
        loop {
            let mut field = EMPTY;
            let mut flags: c_int = 0;
            // SAFETY: the pointers are those of live values, the length is that of the block.
            let taken = unsafe {
                sys::nghttp2_hd_inflate_hd3(
                    self.0,
                    &raw mut field,
                    &raw mut flags,
                    block.as_ptr(),
                    block.len(),
                    1,
                )
            };
            block = &block[usize::try_from(taken).ok()?..];
            let has = |flag: sys::nghttp2_hd_inflate_flag| i64::from(flags) & i64::from(flag) != 0;
            if has(sys::NGHTTP2_HD_INFLATE_EMIT) {
                // SAFETY: nghttp2 says how long what it gives out is.
                let name = unsafe { slice::from_raw_parts(field.name, field.namelen) };
                // SAFETY: as above.
                let value = unsafe { slice::from_raw_parts(field.value, field.valuelen) };
                list.push((name.to_vec(), value.to_vec()));
            }
            if has(sys::NGHTTP2_HD_INFLATE_FINAL) {
                // SAFETY: at the end of a block.
                unsafe { sys::nghttp2_hd_inflate_end_headers(self.0) };
                return Some(list);
            }
        }
    }
}

impl Deflater {
    /// Of a new connection.
    ///
    /// # Panics
    ///
    /// Without memory.
    #[must_use]
    pub fn new() -> Self {
        /// What a decoder allows that says nothing.
        const TABLE: usize = 4096;
        let mut deflater = ptr::null_mut();
        // SAFETY: writes a pointer, which is checked.
        let outcome = unsafe { sys::nghttp2_hd_deflate_new(&raw mut deflater, TABLE) };
        assert_eq!(outcome, 0, "expected memory");
        Self(deflater)
    }

    /// Encodes a block.
    ///
    /// # Panics
    ///
    /// Without memory.
    pub fn deflate(&mut self, list: &HeaderList) -> Vec<u8> {
        let fields: Vec<_> = list
            .iter()
            .map(|(name, value)| sys::nghttp2_nv {
                // It only reads them.
                name: name.as_ptr().cast_mut(),
                value: value.as_ptr().cast_mut(),
                namelen: name.len(),
                valuelen: value.len(),
                flags: 0,
            })
            .collect();
        // SAFETY: as many fields as it is told.
        let bound = unsafe { sys::nghttp2_hd_deflate_bound(self.0, fields.as_ptr(), fields.len()) };
        let mut block = vec![0; bound];
        // SAFETY: as many fields and bytes as it is told.
        let length = unsafe {
            sys::nghttp2_hd_deflate_hd2(
                self.0,
                block.as_mut_ptr(),
                block.len(),
                fields.as_ptr(),
                fields.len(),
            )
        };
        block.truncate(usize::try_from(length).expect("a block"));
        block
    }

    /// The decoder has allowed a table of this size.
    pub fn resize(&mut self, size: usize) {
        // SAFETY: a live encoder.
        unsafe { sys::nghttp2_hd_deflate_change_table_size(self.0, size) };
    }
}

const EMPTY: sys::nghttp2_nv = sys::nghttp2_nv {
    name: ptr::null_mut(),
    value: ptr::null_mut(),
    namelen: 0,
    valuelen: 0,
    flags: 0,
};

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        unsafe { sys::nghttp2_hd_inflate_del(self.0) };
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        unsafe { sys::nghttp2_hd_deflate_del(self.0) };
    }
}
