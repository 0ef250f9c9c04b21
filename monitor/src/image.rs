//! Brings the files of an image into guest memory: layers are mapped, the kernel
//! is read, program frames with writable bytes are copied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spore_abi::ABI_VERSION;
use spore_abi::boot::{KERNEL_MAGIC, KernelHeader};
use spore_abi::layout::{
    FREE_GPA, HUGE, KERNEL_END, KERNEL_GPA, KERNEL_VA, LAYERS_END, LAYERS_GPA, MAX_RAM, MIN_RAM,
    PAGE, RINGS_GPA,
};

use crate::config::{Config, Kernel, LayerFile, PrivateRegion};
use crate::error::{
    MonitorError, Result, SPORE_IMAGE_DAMAGED, SPORE_LAUNCH_CONFIG, SPORE_MEMORY_TOO_SMALL,
    SPORE_MEMORY_UNAVAILABLE,
};
use crate::mapping::{Mapping, Sharing, round_to_pages};
use crate::memory::{GuestMemory, Layer};
use crate::page_cache;
use crate::standby::shared;

/// Memory that must be left for the program once its segments are placed.
const WORKING_SPACE: u64 = MIN_RAM - FREE_GPA;

/// Maps layers and RAM, and copies the program's private frames.
pub fn map(config: &Config) -> Result<GuestMemory> {
    let free_start = free_start(&config.private)?;
    let size = config.memory / HUGE * HUGE;
    let needed = MIN_RAM.max(free_start.saturating_add(WORKING_SPACE));
    if size < needed {
        return Err(MonitorError::new(
            SPORE_MEMORY_TOO_SMALL,
            format!(
                "{} of memory is too little to boot: at least {} is needed",
                mebibytes(config.memory),
                mebibytes(needed)
            ),
        ));
    }
    let unavailable = |problem: String| {
        let memory = mebibytes(size);
        MonitorError::new(
            SPORE_MEMORY_UNAVAILABLE,
            format!("the host does not give {memory} of memory: {problem}"),
        )
    };
    if size > MAX_RAM {
        let most = mebibytes(MAX_RAM);
        return Err(unavailable(format!("{most} is the most a guest can have")));
    }
    let ram = Mapping::anonymous(size).map_err(|e| unavailable(e.to_string()))?;
    let memory = GuestMemory::new(ram, layers(config)?);
    // Of these frames a few pages are used, which the vCPU cannot have as one page
    // anyway where page tables lie among them.
    memory.want_small_pages(0);
    memory.want_small_pages(RINGS_GPA);
    copy_private(&memory, &config.private)?;
    Ok(memory)
}

/// Maps layers and RAM that is to be filled from a snapshot.
pub fn map_empty(config: &Config, size: u64) -> Result<GuestMemory> {
    let ram = Mapping::anonymous(size).map_err(|e| {
        MonitorError::new(
            SPORE_MEMORY_UNAVAILABLE,
            format!("the host does not give {} of memory: {e}", mebibytes(size)),
        )
    })?;
    Ok(GuestMemory::new(ram, layers(config)?))
}

fn layers(config: &Config) -> Result<Vec<Layer>> {
    // A debugger writes breakpoints into the program's code.
    let sharing = match config.gdb {
        Some(_) => Sharing::Private,
        None => Sharing::Shared,
    };
    let layers = config.layers.iter().enumerate();
    layers
        .map(|(number, layer)| {
            let shared = config.layers_inherited.then(|| shared::inherited(number));
            map_layer(layer, sharing, shared.flatten())
        })
        .collect()
}

/// First guest-physical address above the program's frames.
pub fn free_start(private: &[PrivateRegion]) -> Result<u64> {
    let mut free = FREE_GPA;
    for region in private {
        // Regions ascend, so this also finds overlaps.
        let aligned = region.gpa.0.is_multiple_of(HUGE) && region.length.is_multiple_of(HUGE);
        if region.gpa.0 < free || !aligned {
            return Err(wrong("program frames overlap or are misaligned"));
        }
        let end = region.gpa.0.checked_add(region.length);
        free = end.ok_or_else(|| wrong("program frames lie outside memory"))?;
    }
    Ok(free)
}

fn map_layer(layer: &LayerFile, sharing: Sharing, shared: Option<File>) -> Result<Layer> {
    let end = layer.gpa.0.checked_add(layer.length);
    let in_place = layer.gpa.0 >= LAYERS_GPA && end.is_some_and(|end| end <= LAYERS_END);
    if !in_place || !layer.gpa.0.is_multiple_of(HUGE) || !layer.offset.is_multiple_of(PAGE) {
        return Err(wrong("a layer lies outside its place or is misaligned"));
    }
    let is_shared = shared.is_some();
    let (file, offset) = match shared {
        Some(file) => (file, 0),
        None => (open(&layer.path, layer.offset, layer.length)?, layer.offset),
    };
    let len = round_to_pages(layer.length).ok_or_else(|| wrong("a layer is too long"))?;
    let mapping = Mapping::file(&file, offset, len, sharing)
        .map_err(|e| damaged(&layer.path, &format!("it cannot be mapped: {e}")))?;
    if !is_shared && sharing == Sharing::Shared {
        page_cache::make_huge(&file, offset, &mapping);
    }
    Ok(Layer {
        gpa: layer.gpa.0,
        len: layer.length,
        mapping,
    })
}

/// Opens a file and checks that it holds the range.
fn open(path: &Path, offset: u64, length: u64) -> Result<File> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (size, file) = opened.map_err(|e| damaged(path, &e.to_string()))?;
    if length == 0 || offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(damaged(path, "it is shorter than its parts"));
    }
    Ok(file)
}

fn copy_private(memory: &GuestMemory, regions: &[PrivateRegion]) -> Result<()> {
    for region in regions {
        for part in &region.parts {
            let end = part.at.checked_add(part.length);
            if end.is_none_or(|end| end > region.length) {
                return Err(wrong("a program segment reaches out of its frames"));
            }
            memory
                .copy_from_layer(part.layer, part.offset, part.length, region.gpa.0 + part.at)
                .map_err(|_| wrong("a program segment lies outside its layer"))?;
        }
    }
    Ok(())
}

/// Reads the kernel into its place and checks its header.
pub fn load_kernel(memory: &GuestMemory, kernel: &Kernel) -> Result<KernelHeader> {
    let space = KERNEL_END - KERNEL_GPA;
    if kernel.memory_length > space || kernel.length > kernel.memory_length {
        return Err(wrong("the library OS does not fit into its place"));
    }
    if kernel.length < size_of::<KernelHeader>() as u64 {
        return Err(wrong("the library OS has no header"));
    }
    let file = open(&kernel.path, kernel.offset, kernel.length)?;
    let place = memory
        .ram_pointer(KERNEL_GPA, kernel.length)
        .map_err(|_| wrong("the library OS lies outside memory"))?;
    // SAFETY: the range was checked, the guest does not run yet, and nothing
    // else refers to this memory while the slice exists.
    let bytes = unsafe { std::slice::from_raw_parts_mut(place, kernel.length as usize) };
    file.read_exact_at(bytes, kernel.offset)
        .map_err(|e| damaged(&kernel.path, &e.to_string()))?;
    let header = memory
        .read::<KernelHeader>(KERNEL_GPA)
        .map_err(|_| wrong("the library OS lies outside memory"))?;
    check_header(&header, kernel)?;
    Ok(header)
}

/// Reads the kernel's header alone: a snapshot has brought the rest.
pub fn read_header(kernel: &Kernel) -> Result<KernelHeader> {
    let file = open(&kernel.path, kernel.offset, kernel.length)?;
    let mut bytes = [0; size_of::<KernelHeader>()];
    file.read_exact_at(&mut bytes, kernel.offset)
        .map_err(|e| damaged(&kernel.path, &e.to_string()))?;
    // SAFETY: the header is integers, valid for every bit pattern, and the buffer has
    // its size.
    let header = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<KernelHeader>()) };
    check_header(&header, kernel)?;
    Ok(header)
}

fn check_header(header: &KernelHeader, kernel: &Kernel) -> Result<()> {
    let damaged = |problem: &str| damaged(&kernel.path, problem);
    if header.magic != KERNEL_MAGIC {
        return Err(damaged("its library OS has no header"));
    }
    if header.abi_version != ABI_VERSION {
        let found = header.abi_version;
        return Err(damaged(&format!(
            "its library OS speaks version {found}, this monitor {ABI_VERSION}"
        )));
    }
    let end = KERNEL_VA + kernel.memory_length;
    let code = header.text_start..header.text_end;
    let code_inside = code.start >= KERNEL_VA && code.end <= end && !code.is_empty();
    let entries = [
        header.start,
        header.syscall_entry,
        header.exception_entry,
        header.upcall_entry,
        header.gate_page,
    ];
    let stacks = [header.boot_stack, header.exception_stack];
    let sound = code_inside
        && (KERNEL_VA..=end).contains(&header.image_end)
        && entries.iter().all(|at| (KERNEL_VA..end).contains(at))
        && stacks.iter().all(|top| (KERNEL_VA + 8..=end).contains(top))
        && header.gate_page.is_multiple_of(PAGE);
    if !sound {
        return Err(damaged("the header of its library OS makes no sense"));
    }
    Ok(())
}

fn wrong(problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_LAUNCH_CONFIG,
        format!("launch configuration: {problem}"),
    )
}

fn damaged(path: &Path, problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_IMAGE_DAMAGED,
        format!("image {} is damaged: {problem}", path.display()),
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
