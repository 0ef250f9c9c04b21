// Mappings: what mmap, mprotect, mremap, madvise and brk promise. Prints the same
// natively and in the guest.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile uintptr_t fault_address;
static volatile int fault_code, fault_signal;

static void handler(int signal, siginfo_t *info, void *context) {
  (void)context;
  fault_address = (uintptr_t)info->si_addr;
  fault_code = info->si_code;
  fault_signal = signal;
  siglongjmp(back, 1);
}

static const char *access_page(volatile char *p, int write) {
  if (sigsetjmp(back, 1)) {
    if (fault_address != (uintptr_t)p) return "fault at another address";
    if (fault_signal == SIGBUS) return "SIGBUS";
    return fault_code == SEGV_MAPERR ? "SEGV_MAPERR" : "SEGV_ACCERR";
  }
  if (write) *p = 1;
  else (void)*p;
  return "ok";
}

static void *map(size_t len, int prot, int flags) {
  return mmap(0, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static int is_zero(const char *p, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (p[i]) return 0;
  return 1;
}

int main(void) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGBUS, &action, 0);
  printf("null read: %s\n", access_page((char *)0x10, 0));
  printf("far read: %s\n", access_page((char *)0x123456789000, 0));

  char *p = map(64 * 4096, PROT_READ | PROT_WRITE, 0);
  printf("fresh zero: %d\n", is_zero(p, 64 * 4096));
  memset(p, 7, 64 * 4096);
  printf("guard set: %d\n", mprotect(p + 4096 * 8, 4096, PROT_NONE));
  printf("guard read: %s, write: %s\n", access_page(p + 4096 * 8 + 5, 0), access_page(p + 4096 * 8 + 5, 1));
  printf("beside: %s %s\n", access_page(p + 4096 * 7, 1), access_page(p + 4096 * 9, 1));
  mprotect(p + 4096 * 8, 4096, PROT_READ);
  printf("read-only read: %s, write: %s, kept: %d\n", access_page(p + 4096 * 8, 0), access_page(p + 4096 * 8, 1), p[4096 * 8 + 1]);
  mprotect(p + 4096 * 8, 4096, PROT_READ | PROT_WRITE);
  printf("again writable: %s, kept: %d\n", access_page(p + 4096 * 8, 1), p[4096 * 8 + 1]);
  printf("dontneed: %d zero: %d others: %d\n", madvise(p + 4096 * 8, 8192, MADV_DONTNEED), is_zero(p + 4096 * 8, 8192), p[4096 * 10]);

  char *r = map(64 << 20, PROT_NONE, MAP_NORESERVE);
  mprotect(r + (1 << 20), 1 << 20, PROT_READ | PROT_WRITE);
  memset(r + (1 << 20), 9, 1 << 20);
  printf("slice of a reservation: %d\n", r[(1 << 20) + 100]);
  printf("decommit: %d\n", mmap(r + (1 << 20), 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == r + (1 << 20));
  mprotect(r + (1 << 20), 1 << 20, PROT_READ | PROT_WRITE);
  printf("zero after decommit: %d\n", is_zero(r + (1 << 20), 1 << 20));
  printf("unmap: %d\n", munmap(r, 64 << 20));
  printf("after unmap of a reservation: %s\n", access_page(r + (1 << 20), 0));

  char *big = map(40ul << 30, PROT_NONE, MAP_NORESERVE);
  printf("40 GiB reserved: %d\n", big != MAP_FAILED);
  mprotect(big + (20ul << 30), 65536, PROT_READ | PROT_WRITE);
  printf("inside: %s, past: %s, before: %s\n", access_page(big + (20ul << 30), 1), access_page(big + (20ul << 30) + 65536, 0),
         access_page(big + (20ul << 30) - 1, 1));
  munmap(big, 40ul << 30);

  char *s = map(4 * 4096, PROT_READ | PROT_WRITE, 0);
  strcpy(s, "moved");
  s = mremap(s, 4 * 4096, 600 * 4096, MREMAP_MAYMOVE);
  printf("mremap: %s, tail zero: %d\n", s, is_zero(s + 4 * 4096, 596 * 4096));
  s = mremap(s, 600 * 4096, 4096, 0);
  printf("shrunk: %s\n", s);
  printf("munmap middle: %d\n", munmap(p + 4096 * 20, 4096));
  p[4096 * 19] = 1;
  p[4096 * 21] = 1;
  printf("refill: %d\n", mmap(p + 4096 * 20, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 4096 * 20);
  printf("refilled zero: %d\n", is_zero(p + 4096 * 20, 4096));

  errno = 0;
  printf("bad length: %d %d\n", mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED, errno);
  errno = 0;
  printf("bad fd: %d %d\n", mmap(0, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED, errno);
  errno = 0;
  printf("noreplace: %d %d\n", mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED, errno);
  errno = 0;
  printf("protect unmapped: %d %d\n", mprotect((void *)0x200000000000, 4096, PROT_READ), errno);
  printf("unaligned: %d\n", munmap(p + 1, 4096));

  int fd = open("/tmp/spore-memory", O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (write(fd, "file content", 12) != 12 || ftruncate(fd, 8192)) return 1;
  char *shared = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *private = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  printf("shared: %.12s private: %.12s\n", shared, private);
  memcpy(shared, "FILE", 4);
  char buffer[13] = {0};
  pread(fd, buffer, 12, 0);
  printf("seen by read: %s\n", buffer);
  pwrite(fd, "TEXT", 4, 5);
  printf("write seen in mapping: %.12s\n", shared);
  private[0] = 'x';
  pread(fd, buffer, 12, 0);
  printf("private stays private: %c %s\n", private[0], buffer);
  printf("msync: %d\n", msync(shared, 8192, MS_SYNC));
  // A hole that was only read so far becomes the file's page once it is written.
  char *hole = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 4096);
  int before = hole[0];
  mprotect(hole, 4096, PROT_READ | PROT_WRITE);
  hole[0] = 'h';
  pread(fd, buffer, 1, 4096);
  printf("hole: %d %c %c\n", before, buffer[0], shared[4096]);
  unlink("/tmp/spore-memory");

  char *heap = sbrk(0);
  printf("brk grows: %d\n", sbrk(5 << 20) == heap);
  printf("heap zero: %d\n", is_zero(heap, 5 << 20));
  memset(heap, 3, 5 << 20);
  sbrk(-(5 << 20));
  sbrk(5 << 20);
  printf("heap zero again: %d\n", is_zero(heap, 5 << 20));

  unsigned char *code = map(4096, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
  memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6);
  printf("code: %d\n", ((int (*)(void))code)());
  mprotect(code, 4096, PROT_READ | PROT_EXEC);
  printf("code after flip: %d\n", ((int (*)(void))code)());
  for (int round = 0; round < 200; round++) {
    size_t len = (size_t)(1 + round % 37) * 4096;
    char *q = map(len, PROT_READ | PROT_WRITE, 0);
    if (!is_zero(q, len)) printf("round %d not zero\n", round);
    memset(q, round, len);
    if (round % 3) munmap(q, len);
  }
  printf("done\n");
  return 0;
}
