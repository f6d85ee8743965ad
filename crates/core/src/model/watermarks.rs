//! A memory zone as `/proc/zoneinfo` shows it.

/// All fields are in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub managed: u64,
    pub min: u64,
    /// When free pages fall below this, the kernel begins to swap.
    pub low: u64,
}

/// The inputs of the kernel's watermarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub zones: Vec<Zone>,
    pub page_bytes: u64,
    /// `vm.min_free_kbytes`.
    pub min_free_kbytes: u64,
    /// `vm.watermark_scale_factor`, in ten-thousandths.
    pub scale_factor: u64,
}

impl Watermarks {
    /// Returns the free memory below which the kernel begins to swap, in bytes.
    pub fn swaps_below_bytes(&self) -> u64 {
        let pages = self.zones.iter().fold(0_u64, |sum, zone| sum.saturating_add(zone.low));
        pages.saturating_mul(self.page_bytes)
    }
}
