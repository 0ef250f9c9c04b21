//! The table from which guests read what the CPUID instruction says. The
//! instruction leaves the guest (6 to 36 µs), and the C library's start alone
//! executes it some eighty times.

use kvm_bindings::{
    KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_CPUID_FLAG_STATEFUL_FUNC, KVM_MAX_CPUID_ENTRIES,
    kvm_cpuid_entry2,
};
use kvm_ioctls::VcpuFd;
use spore_abi::cpuid::{CAPACITY, Entry, Table};
use spore_abi::layout::CPUID_GPA;

use crate::memory::{GuestMemory, OutOfRange};

/// Writes what KVM answers this vCPU, as it is now: some bits follow the control
/// registers, so these must have been set. Where KVM does not say, the table
/// stays empty and the guest executes the instruction.
pub fn write(vcpu: &VcpuFd, memory: &GuestMemory) -> Result<(), OutOfRange> {
    let Ok(known) = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES) else {
        return Ok(());
    };
    memory.write(CPUID_GPA, &table(known.as_slice()))
}

fn table(known: &[kvm_cpuid_entry2]) -> Table {
    let mut table = Table {
        count: 0,
        reserved: [0; 7],
        entries: [Entry::default(); CAPACITY],
    };
    // An answer that changes from question to question is not for a table.
    let constant = known
        .iter()
        .filter(|entry| entry.flags & KVM_CPUID_FLAG_STATEFUL_FUNC == 0);
    for (to, from) in table.entries.iter_mut().zip(constant) {
        *to = Entry {
            leaf: from.function,
            index: from.index,
            indexed: u32::from(from.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0),
            reserved: 0,
            eax: from.eax,
            ebx: from.ebx,
            ecx: from.ecx,
            edx: from.edx,
        };
        table.count += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, flags: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index,
            flags,
            eax: function << 8 | index,
            ..kvm_cpuid_entry2::default()
        }
    }

    #[test]
    fn the_table_holds_what_is_always_the_same() {
        let known = [
            entry(1, 0, 0),
            entry(2, 0, KVM_CPUID_FLAG_STATEFUL_FUNC),
            entry(4, 3, KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
        ];
        let table = table(&known);
        assert_eq!(table.count, 2);
        let [first, second, ..] = table.entries;
        assert_eq!((first.leaf, first.indexed, first.eax), (1, 0, 0x100));
        assert_eq!((second.leaf, second.index, second.indexed), (4, 3, 1));
    }

    #[test]
    fn more_than_fits_is_left_to_the_instruction() {
        let known: Vec<_> = (0..200).map(|leaf| entry(leaf, 0, 0)).collect();
        assert_eq!(table(&known).count as usize, CAPACITY);
    }
}
