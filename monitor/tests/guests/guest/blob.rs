//! A tiny kernel in assembler: each entry point does one thing with the monitor
//! and ends the run. Position-independent, so that it can be copied out of the
//! test program into a kernel image.

use spore_abi::boot::{KERNEL_MAGIC, KernelHeader};
use spore_abi::layout::{
    BLOB_GPA, BOOT_GPA, DIRECT_VA, DOORBELL_CALL_GPA, GATE_FRAME_GPA, GATE_STACK_GPA, HOSTCALL_GPA,
    IDT_GPA, KERNEL_VA, TIME_GPA, VCPU_GPA,
};

core::arch::global_asm!(
    r#"
    .pushsection .rodata.spore_guest, "a", @progbits
    .balign 4096
    .globl spore_guest_begin
spore_guest_begin:
    .skip 0x200

    // Host call: number in eax, arguments 0 to 2 in rdi, rsi, rdx; result in rax.
    .globl spore_guest_text
spore_guest_text:
host_call:
    mov [r15 + {hostcall}], rax
    mov [r15 + {hostcall} + 8], rdi
    mov [r15 + {hostcall} + 16], rsi
    mov [r15 + {hostcall} + 24], rdx
    movabs rcx, {doorbell}
    add rcx, r15
    mov dword ptr [rcx], eax
    mov rax, [r15 + {hostcall} + 56]
    ret
// Ends the run with the exit code in edi.
exit:
    xor esi, esi
    xor edx, edx
exit_with:
    movabs r15, {direct}
    mov eax, 1
    call host_call
    ud2

    .globl guest_exit
guest_exit:
    mov edi, 7
    jmp exit

    .globl guest_exit_by_signal
guest_exit_by_signal:
    xor edi, edi
    mov esi, 15
    xor edx, edx
    jmp exit_with

    // 50 ms after the time page was written.
    .globl guest_idle
guest_idle:
    movabs r15, {direct}
    mov rdi, [r15 + {time} + 24]
    add rdi, 50000000
    mov eax, 2
    call host_call
    xor edi, edi
    jmp exit

    // Reads its clock from the time page, idles for 20 ms and reads it again: 0 if
    // the counter is the monitor's and the time fits.
    .globl guest_clock
guest_clock:
    movabs r15, {direct}
    call read_clock
    mov edi, 1
    mov rcx, 1 << 36
    cmp rdx, rcx
    ja exit
    lea rbx, [rax + 20000000]
    mov rdi, rbx
    mov eax, 2
    call host_call
    call read_clock
    // From 1 ms too early to 4 s too late.
    sub rax, rbx
    add rax, 1000000
    mov edi, 2
    mov rcx, 4000000000
    cmp rax, rcx
    ja exit
    xor edi, edi
    jmp exit
// CLOCK_MONOTONIC in rax, ticks since the page was written in rdx.
read_clock:
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, [r15 + {time} + 8]
    mov rcx, rax
    mul qword ptr [r15 + {time} + 16]
    shrd rax, rdx, 32
    add rax, [r15 + {time} + 24]
    mov rdx, rcx
    ret

    // Waits for signals; the exit code is the lowest of them.
    .globl guest_wait_for_signal
guest_wait_for_signal:
    movabs r15, {direct}
    mov rdi, -1
    mov eax, 2
    call host_call
    mov rax, [r15 + {vcpu} + 136]
    test rax, rax
    jz guest_wait_for_signal
    bsf rdi, rax
    inc edi
    jmp exit

    // Waits for ever, whatever comes.
    .globl guest_deaf
guest_deaf:
    movabs r15, {direct}
    lock and dword ptr [r15 + {vcpu} + 128], 0
    mov rdi, -1
    mov eax, 2
    call host_call
    jmp guest_deaf

    // Spins outside the kernel's text until a tick redirects it.
    .globl guest_spin_for_tick
guest_spin_for_tick:
    movabs r15, {direct}
    mov dword ptr [r15 + {vcpu} + 196], 1
    mov dword ptr [r15 + {vcpu} + 192], 1
    jmp spin

    // The same with a timer that is due in 20 ms.
    .globl guest_spin_for_timer
guest_spin_for_timer:
    movabs r15, {direct}
    mov rax, [r15 + {time} + 24]
    add rax, 20000000
    mov [r15 + {vcpu} + 200], rax
    mov dword ptr [r15 + {vcpu} + 192], 1
    jmp spin

    // The same with neither: only a signal ends it.
    .globl guest_spin_for_signal
guest_spin_for_signal:
    movabs r15, {direct}
    mov dword ptr [r15 + {vcpu} + 192], 1
    jmp spin

    // Spins inside the text: no upcall may come, the attention word shows.
    .globl guest_spin_in_kernel
guest_spin_in_kernel:
    movabs r15, {direct}
    mov dword ptr [r15 + {vcpu} + 196], 1
    mov dword ptr [r15 + {vcpu} + 192], 1
    xor ebx, ebx
8:  inc ebx
    cmp dword ptr [r15 + {vcpu} + 128], 0
    je 8b
    // Give several retries the chance to break the rule.
    mov ecx, 100000000
9:  dec ecx
    jnz 9b
    mov edi, 11
    jmp exit

    // Touches memory that is not mapped.
    .globl guest_fault
guest_fault:
    mov eax, 0xdead000
    mov rax, [rax]
    mov edi, 99
    jmp exit

    // Flushes through the int3 gate and goes on.
    .globl guest_flush
guest_flush:
    int3
    mov edi, 5
    jmp exit

    // Makes a system call.
    .globl guest_syscall
guest_syscall:
    syscall
    mov edi, 99
    jmp exit

    .globl guest_panic
guest_panic:
    movabs r15, {direct}
    lea rdi, [rip + message]
    movabs rax, {kernel_to_gpa}
    sub rdi, rax
    mov esi, 15
    mov eax, 3
    call host_call
    ud2
message:
    .ascii "no frames\nleft\0"

    // Reads where no memory is.
    .globl guest_stray
guest_stray:
    movabs rax, {direct} + {doorbell}
    mov rax, [rax]
    mov edi, 99
    jmp exit

    // Writes to memory that was not asked for, reads it back, and has an instruction write
    // there that KVM cannot emulate; then asks for more than there can be, and for less.
    .globl guest_absent
guest_absent:
    movabs r15, {direct} + {absent}
    mov dword ptr [r15], 5
    mov r14d, [r15]
    jmp 1f
    .globl guest_absent_state
guest_absent_state:
    movabs r15, {direct} + {absent}
    mov eax, 3
    xor edx, edx
    xsave [r15]
    // 0x1f80 after a reset.
    mov r14d, [r15 + 24]
    shr r14d, 7
1:
    movabs r15, {direct}
    mov eax, {grow}
    mov rdi, {absent} * 2
    call host_call
    cmp rax, -12
    jne 2f
    mov eax, {grow}
    mov rdi, {absent}
    call host_call
    test rax, rax
    jnz 2f
    mov edi, r14d
    jmp exit
2:  mov edi, 98
    jmp exit

    // Destroys the interrupt table and faults.
    .globl guest_triple_fault
guest_triple_fault:
    movabs r15, {direct}
    lea rdi, [r15 + {idt}]
    mov ecx, 512
    xor eax, eax
    rep stosq
    ud2

    // Crash record of zeros except the signal: SIGSEGV.
    .globl guest_crash
guest_crash:
    movabs r15, {direct}
    mov dword ptr [r15 + 0x800000], 11
    xor edi, edi
    mov esi, 11
    mov edx, 0x800000
    jmp exit_with

    // First byte of argv[0].
    .globl guest_argument
guest_argument:
    mov eax, [rdi + {argv}]
    movabs r15, {direct}
    movzx edi, byte ptr [r15 + rax + {blob}]
    jmp exit

    // Shared frame at 0x400000, private frame at 0x600000: adds the byte at the
    // start of the shared one to that at 0x10 of the private one, in place.
    .globl guest_segments
guest_segments:
    mov eax, 0x400000
    movzx edi, byte ptr [rax]
    mov eax, 0x600010
    add byte ptr [rax], dil
    movzx edi, byte ptr [rax]
    jmp exit

    // Turns echo off on standard input and reads the settings back.
    .globl guest_terminal
guest_terminal:
    movabs r15, {direct}
    mov ebx, 0x5401
    call terminal
    and dword ptr [r15 + 0x80000c], ~8
    mov ebx, 0x5402
    call terminal
    mov dword ptr [r15 + 0x80000c], -1
    mov ebx, 0x5401
    call terminal
    mov edi, [r15 + 0x80000c]
    and edi, 8
    // TIOCSTI would type into the user's shell.
    mov ebx, 0x5412
    call terminal
    cmp rax, -25
    je exit
    mov edi, 99
    jmp exit
    // Stops for the debugger at once and whenever it asks.
    .globl guest_interruptible
guest_interruptible:
    movabs r15, {direct}
6:  lock and dword ptr [r15 + {vcpu} + 128], 0
    mov qword ptr [r15 + 0x800098], 3
    mov eax, 5
    mov edi, 5
    mov esi, 0x800000
    call host_call
5:  mov rdi, -1
    mov eax, 2
    call host_call
    test dword ptr [r15 + {vcpu} + 128], 8
    jnz 6b
    jmp 5b

    // Stops for the debugger with rax = 0x11, rip = 0x400000, thread 3; the exit
    // code is rax afterwards plus the byte at 0x400000, plus 0x80 if TF is set.
    .globl guest_debug
guest_debug:
    movabs r15, {direct}
    mov qword ptr [r15 + 0x800000], 0x11
    mov qword ptr [r15 + 0x800080], 0x400000
    mov qword ptr [r15 + 0x800098], 3
    mov eax, 5
    mov edi, 5
    mov esi, 0x800000
    call host_call
    mov edi, [r15 + 0x800000]
    mov eax, 0x400000
    movzx eax, byte ptr [rax]
    add edi, eax
    mov eax, [r15 + 0x800088]
    and eax, 0x100
    shr eax
    add edi, eax
    jmp exit
terminal:
    push rdi
    mov eax, 4
    xor edi, edi
    mov esi, ebx
    mov edx, 0x800000
    call host_call
    pop rdi
    ret

    // Exceptions come here through the gate, at CPL3: exit code = vector, if the
    // frame on the gate's stack is whole.
    .globl guest_exception
guest_exception:
    movabs r15, {direct}
    mov rax, cs
    cmp eax, 0x33
    jne 7f
    mov rdi, [r15 + {gate_stack} + 4096 - 72]
    cmp qword ptr [r15 + {gate_stack} + 4096 - 64], 0xdead000
    jne 7f
    jmp exit
7:  mov edi, 98
    jmp exit

    .globl guest_syscall_entry
guest_syscall_entry:
    mov edi, 9
    jmp exit

    // Upcall: exit code = attention, if the interrupted place is right and no
    // second upcall may come.
    .globl guest_upcall
guest_upcall:
    lea rax, [rip + spin]
    mov rcx, [r15 + {vcpu} + 144]
    sub rcx, rax
    cmp rcx, 4
    ja 7b
    cmp dword ptr [r15 + {vcpu} + 192], 0
    jne 7b
    mov edi, [r15 + {vcpu} + 128]
    jmp exit

    .balign 4096
    .globl guest_gate
guest_gate:
    .set vector, 0
    .rept 32
    .balign 64
    .if vector == 3
        push rax
        mov rax, cr3
        mov cr3, rax
        pop rax
        iretq
    .else
        .if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && vector != 14 && vector != 17
            push 0
        .endif
        push rax
        mov rax, cr2
        push rax
        push vector
        movabs rsp, {direct} + {gate_frame}
        iretq
    .endif
    .set vector, vector + 1
    .endr
    .balign 4096
    .globl spore_guest_text_end
spore_guest_text_end:
spin:
    pause
    jmp spin
    .skip 64
    .globl spore_guest_end
spore_guest_end:
    .popsection
    "#,
    hostcall = const HOSTCALL_GPA,
    doorbell = const DOORBELL_CALL_GPA,
    direct = const DIRECT_VA,
    absent = const ABSENT,
    grow = const spore_abi::hostcall::number::GROW,
    argv = const std::mem::offset_of!(spore_abi::boot::BootInfo, argv),
    time = const TIME_GPA,
    vcpu = const VCPU_GPA,
    idt = const IDT_GPA,
    blob = const BLOB_GPA,
    gate_stack = const GATE_STACK_GPA,
    gate_frame = const GATE_FRAME_GPA,
    kernel_to_gpa = const KERNEL_VA - spore_abi::layout::KERNEL_GPA,
);

const _: () = assert!(BOOT_GPA < BLOB_GPA);

/// Stacks follow the image.
const STACKS: u64 = 0x2000;

macro_rules! entries {
    ($($name:ident)*) => {
        unsafe extern "C" {
            static spore_guest_begin: u8;
            static spore_guest_end: u8;
            static spore_guest_text: u8;
            static spore_guest_text_end: u8;
            static guest_gate: u8;
            static guest_exception: u8;
            static guest_syscall_entry: u8;
            static guest_upcall: u8;
            $(static $name: u8;)*
        }
        /// Offset of an entry point in the image.
        fn entry(name: &str) -> u64 {
            match name {
                $(stringify!($name) => offset(&raw const $name),)*
                _ => panic!("no guest entry {name}"),
            }
        }
    };
}

entries! {
    guest_exit guest_exit_by_signal guest_idle guest_wait_for_signal guest_deaf
    guest_spin_for_tick guest_spin_for_timer guest_spin_for_signal guest_spin_in_kernel
    guest_fault guest_flush guest_syscall guest_panic guest_stray guest_absent guest_absent_state guest_triple_fault
    guest_crash guest_argument guest_segments guest_terminal guest_debug guest_interruptible guest_clock
}

/// Memory that is not there at first: a guest begins with 32 MiB.
pub const ABSENT: u64 = 64 << 20;

fn offset(symbol: *const u8) -> u64 {
    symbol as u64 - &raw const spore_guest_begin as u64
}

/// The kernel image that starts at the named entry, and its length in memory.
pub fn kernel(start: &str) -> (Vec<u8>, u64) {
    // SAFETY: the symbols bound one section of this program.
    let mut image = unsafe {
        let len = offset(&raw const spore_guest_end) as usize;
        std::slice::from_raw_parts(&raw const spore_guest_begin, len).to_vec()
    };
    let memory_length = (image.len() as u64).next_multiple_of(4096) + STACKS;
    let at = |symbol: *const u8| KERNEL_VA + offset(symbol);
    let header = KernelHeader {
        magic: KERNEL_MAGIC,
        abi_version: spore_abi::ABI_VERSION,
        reserved: 0,
        start: KERNEL_VA + entry(start),
        syscall_entry: at(&raw const guest_syscall_entry),
        exception_entry: at(&raw const guest_exception),
        exception_stack: KERNEL_VA + memory_length - STACKS / 2,
        upcall_entry: at(&raw const guest_upcall),
        boot_stack: KERNEL_VA + memory_length,
        gate_page: at(&raw const guest_gate),
        text_start: at(&raw const spore_guest_text),
        text_end: at(&raw const spore_guest_text_end),
        image_end: KERNEL_VA + memory_length,
    };
    // SAFETY: a `repr(C)` structure of integers without padding.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const header).cast::<u8>(), size_of_val(&header))
    };
    image[..bytes.len()].copy_from_slice(bytes);
    (image, memory_length)
}
