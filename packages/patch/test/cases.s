# Functions with a `syscall` in every position that matters to the patcher, and
# some with a `cpuid`. The program calls them all and exits with 0 if each got the
# process id, or what it knows of the processor.
	.text
	.macro function name
	.globl \name
	.type \name, @function
	.p2align 4
\name:
	.cfi_startproc
	.endm
	.macro finish name
	.cfi_endproc
	.size \name, . - \name
	.endm

# The number comes from memory, relative to the instruction that is moved.
function relative
	mov number(%rip), %eax
	syscall
	ret
finish relative

# Somebody jumps to the syscall: only what follows can be moved, a conditional jump among it.
function entered
	test %edi, %edi
	mov $39, %eax
	jne at_entered
	nop
at_entered:
	syscall
	test %rax, %rax
	js failed
	ret
failed:
	mov $-1, %eax
	ret
finish entered

# Somebody jumps to the syscall and somebody behind it: there is no window.
function cornered
	mov $39, %eax
	cmp $1, %edi
	je at_cornered
	ja behind_cornered
at_cornered:
	syscall
behind_cornered:
	ret
finish cornered

# Calls on both sides: they must push the right return address.
function between_calls
	call nothing
at_between_calls:
	syscall
	call nothing
	ret
finish between_calls

# The jump to the syscall is in a table, nowhere in the code.
function switched
	lea table(%rip), %rdx
	movslq (%rdx,%rdi,4), %rax
	add %rdx, %rax
	mov $39, %ecx
	jmp *%rax
case_0:
	mov $39, %ecx
	mov %ecx, %eax
case_1:
	syscall
	cmp $-4095, %rax
	jae failed
	ret
case_2:
	mov $39, %eax
	jmp case_1
finish switched

# A pointer in the data leads to the syscall.
function pointed
	mov $39, %eax
	jmp *pointer(%rip)
	nop
	mov $1, %ebx
at_pointed:
	syscall
	cmp $-4095, %rax
	ret
finish pointed

# The unwind record ends before the syscall, as clone's does, and there is no size.
	.p2align 4
	.globl cut_short
cut_short:
	.cfi_startproc
	mov $39, %eax
	.cfi_endproc
	syscall
	cmp $-4095, %rax
	ret

# The last moved instruction is a return: nothing jumps back.
function returns_at_once
	mov $39, %eax
	jmp at_returns
	nop
at_returns:
	syscall
	nop
	nop
	ret
	mov $7, %eax
finish returns_at_once

# Nothing but rax, rbx, rcx and rdx changes, flags included; what follows is moved.
function identified
	push %rbx
	mov $7, %esi
	mov $8, %r11d
	xor %ecx, %ecx
	xor %eax, %eax
	stc
	cpuid
	jnc failed_identity
	cmp $7, %esi
	jne failed_identity
	cmp $8, %r11d
	jne failed_identity
	mov %ebx, %edi
	pop %rbx
	mov %edi, %eax
	ret
failed_identity:
	pop %rbx
	xor %eax, %eax
	ret
finish identified

function identified_in_a_corner
	mov %rbx, %r8
	xor %eax, %eax
	test %edi, %edi
	jne at_identity
	nop
at_identity:
	cpuid
	mov %rbx, %rax
	mov %r8, %rbx
	ret
finish identified_in_a_corner

# Unwinders know it by its bytes, and there is no record that says what it is.
	.p2align 4
	.globl signal_return
	.type signal_return, @function
signal_return:
	mov $15, %rax
at_signal_return:
	syscall
	.size signal_return, . - signal_return

# These bytes are no syscall.
function no_syscall
	mov $0x0000050f, %eax
	xor %eax, %eax
	ret
finish no_syscall
	.byte 0x0f, 0x05, 0x90, 0x90

function nothing
	mov $39, %eax
	ret
finish nothing

function _start
	call relative
	mov %rax, %rbx
	.irp name, identified, identified_in_a_corner, entered, cornered, between_calls, pointed, cut_short, returns_at_once
	xor %edi, %edi
	call \name
	cmp $0, %eax
	je wrong
	.endr
	xor %edi, %edi
	call entered
	cmp %rax, %rbx
	jne wrong
	mov $1, %edi
	call entered
	cmp %rax, %rbx
	jne wrong
	mov $1, %edi
	call cornered
	cmp %rax, %rbx
	jne wrong
	xor %edi, %edi
	call switched
	cmp %rax, %rbx
	jne wrong
	mov $2, %edi
	call switched
	cmp %rax, %rbx
	jne wrong
	call pointed
	cmp %rax, %rbx
	jne wrong
	call cut_short
	cmp %rax, %rbx
	jne wrong
	call returns_at_once
	cmp %rax, %rbx
	jne wrong
	call no_syscall
	mov %eax, %edi
	jmp leave
wrong:
	mov $1, %edi
leave:
	mov $231, %eax
	syscall
	hlt
finish _start

	.section .rodata
	.p2align 3
table:
	.long case_0 - table, case_1 - table, case_2 - table
	.p2align 3
number:
	.long 39
	.data
	.p2align 3
pointer:
	.quad at_pointed
