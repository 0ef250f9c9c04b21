/*
 * Runs a dynamic loader whose code was patched to jump to fixed addresses
 * instead of executing `syscall` and `cpuid`: puts code at the one which makes
 * the system call and counts it, at the other which executes cpuid, forbids the first thread every other system call,
 * then enters the loader as the kernel would.
 *
 *   launch COUNTER-FILE LD.SO ARGUMENT...
 *
 * The counter file then holds the number of system calls made through the
 * entry and, as a second number, 1 if the others were forbidden (Linux 5.11).
 * Exit status 77: the fixed address is in use, by chance of address
 * randomisation.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY_PAGE 0x7f8000200000UL
#define ENTRY_OFFSET 0x100
#define CPUID_OFFSET 0x140
#define COUNTER_PAGE 0x7f8000201000UL
#define PAGE 4096UL

extern char **environ;

static void fail(const char *what) {
  perror(what);
  exit(99);
}

/* Writes the entry: rcx holds the return address, r11 is free; no flags and no stack are used. */
static void map_entry(const char *counter_file) {
  unsigned char *page = mmap((void *)ENTRY_PAGE, PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (page != (void *)ENTRY_PAGE) exit(77);
  int file = open(counter_file, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, PAGE) < 0) fail(counter_file);
  void *counter = mmap((void *)COUNTER_PAGE, PAGE, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
  if (counter != (void *)COUNTER_PAGE) exit(77);
  close(file);

  unsigned char *at = page + ENTRY_OFFSET;
  const unsigned char save[] = {0x66, 0x4c, 0x0f, 0x6e, 0xf9}; /* movq xmm15, rcx */
  memcpy(at, save, sizeof save);
  at += sizeof save;
  /* mov r11, [counter]; lea r11, [r11 + 1]; mov [counter], r11, rip-relative */
  const unsigned char load[] = {0x4c, 0x8b, 0x1d}, add[] = {0x4d, 0x8d, 0x5b, 0x01}, store[] = {0x4c, 0x89, 0x1d};
  int32_t distance;
  memcpy(at, load, 3);
  distance = (int32_t)(COUNTER_PAGE - (uintptr_t)(at + 7));
  memcpy(at + 3, &distance, 4);
  at += 7;
  memcpy(at, add, 4);
  at += 4;
  memcpy(at, store, 3);
  distance = (int32_t)(COUNTER_PAGE - (uintptr_t)(at + 7));
  memcpy(at + 3, &distance, 4);
  at += 7;
  /* syscall; movq rcx, xmm15; jmp rcx */
  const unsigned char rest[] = {0x0f, 0x05, 0x66, 0x4c, 0x0f, 0x7e, 0xf9, 0xff, 0xe1};
  memcpy(at, rest, sizeof rest);
  /* rdx holds the return address: mov [rsp - 136], rdx; cpuid; jmp [rsp - 136] */
  const unsigned char identify[] = {0x48, 0x89, 0x94, 0x24, 0x78, 0xff, 0xff, 0xff, 0x0f, 0xa2,
                                    0xff, 0xa4, 0x24, 0x78, 0xff, 0xff, 0xff};
  memcpy(page + CPUID_OFFSET, identify, sizeof identify);
  if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) < 0) fail("mprotect");
}

static char *map_loader(const char *path, Elf64_Ehdr *header) {
  int file = open(path, O_RDONLY);
  if (file < 0 || pread(file, header, sizeof *header, 0) != sizeof *header) fail(path);
  Elf64_Phdr segments[32];
  ssize_t size = header->e_phnum * sizeof *segments;
  if (header->e_phnum > 32 || pread(file, segments, size, header->e_phoff) != size) fail(path);
  uint64_t end = 0;
  for (int i = 0; i < header->e_phnum; i++)
    if (segments[i].p_type == PT_LOAD) end = segments[i].p_vaddr + segments[i].p_memsz;
  char *base = mmap(0, end + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) fail("mmap");
  for (int i = 0; i < header->e_phnum; i++) {
    Elf64_Phdr *each = &segments[i];
    if (each->p_type != PT_LOAD) continue;
    int protection = (each->p_flags & PF_R ? PROT_READ : 0) | (each->p_flags & PF_W ? PROT_WRITE : 0) |
                     (each->p_flags & PF_X ? PROT_EXEC : 0);
    uint64_t skew = each->p_vaddr % PAGE;
    char *start = base + each->p_vaddr - skew;
    if (mmap(start, each->p_filesz + skew, protection, MAP_PRIVATE | MAP_FIXED, file, each->p_offset - skew) == MAP_FAILED)
      fail("mmap segment");
    if (each->p_memsz > each->p_filesz) {
      char *bss = base + each->p_vaddr + each->p_filesz, *stop = base + each->p_vaddr + each->p_memsz;
      char *page = (char *)(((uintptr_t)bss + PAGE - 1) & ~(PAGE - 1));
      /* To the end of the page: the loader takes its first memory from behind its data. */
      memset(bss, 0, page - bss);
      if (page < stop && mmap(page, stop - page, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        fail("mmap bss");
    }
  }
  close(file);
  return base;
}

int main(int argc, char **argv) {
  if (argc < 4) return 99;
  map_entry(argv[1]);
  Elf64_Ehdr header;
  char *base = map_loader(argv[2], &header);

  /* argc, argv, environment and the auxiliary vector, as execve lays them out. */
  int variables = 0, entries = 0;
  while (environ[variables]) variables++;
  Elf64_auxv_t *auxiliary = (Elf64_auxv_t *)(environ + variables + 1);
  while (auxiliary[entries].a_type != AT_NULL) entries++;
  size_t words = 1 + argc + variables + 2 + 2 * (entries + 1);
  uint64_t *stack = __builtin_alloca_with_align((words + 2) * 8, 16 * 8), *at = stack;
  *at++ = argc - 2;
  for (int i = 2; i <= argc; i++) *at++ = (uint64_t)argv[i];
  for (int i = 0; i <= variables; i++) *at++ = (uint64_t)environ[i];
  for (int i = 0; i <= entries; i++) {
    uint64_t type = auxiliary[i].a_type, value = auxiliary[i].a_un.a_val;
    if (type == AT_PHDR) value = (uint64_t)base + header.e_phoff;
    if (type == AT_PHNUM) value = header.e_phnum;
    if (type == AT_ENTRY) value = (uint64_t)base + header.e_entry;
    if (type == AT_BASE) value = 0;
    if (type == AT_EXECFN) value = (uint64_t)argv[2];
    *at++ = type;
    *at++ = value;
  }
  fflush(0);
  /* From here on a system call outside the entry page raises SIGSYS. */
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, ENTRY_PAGE, PAGE, 0) == 0)
    ((volatile uint64_t *)COUNTER_PAGE)[1] = 1;
  __asm__ volatile("mov %0, %%rsp\n xor %%edx, %%edx\n xor %%ebp, %%ebp\n jmp *%1" ::"r"(stack), "r"(base + header.e_entry)
                   : "memory");
  __builtin_unreachable();
}
