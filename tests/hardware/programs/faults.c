// Faults: where they happen, that protections hold from the moment they are set (no
// stale translations), and that what was unmapped is gone.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static sigjmp_buf back;
static volatile char *fault_address;
static volatile int fault_code;

static void handler(int signal, siginfo_t *info, void *context) {
  (void)context;
  fault_address = info->si_addr;
  fault_code = info->si_code;
  siglongjmp(back, signal);
}

// 0: no fault; else the signal.
static int try(volatile char *at, int write) {
  int signal = sigsetjmp(back, 1);
  if (signal) return signal;
  if (write) *at = 1;
  else (void)*at;
  return 0;
}

static char *base;
static void say(const char *what, char *at, int write) {
  int signal = try(at, write);
  printf("%s: ", what);
  if (!signal) printf("fine\n");
  else printf("signal %d code %d at %s%ld\n", signal, fault_code, fault_address == at ? "+" : "another address, +", (long)(fault_address - base));
}

static void *deep(void *argument) {
  volatile char frame[PAGE];
  frame[0] = 1;
  return frame[0] + (char *)deep(argument);
}

static void *overflow(void *argument) {
  stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
  sigaltstack(&alternate, 0);
  int signal = sigsetjmp(back, 1);
  if (!signal) deep(argument);
  return (void *)(long)signal;
}

static int rounds(void) {
  int wrong = 0;
  for (int i = 0; i < 200; i++) {
    char *page = base + (i % 8) * PAGE;
    wrong += try(page, 1) != 0;
    mprotect(page, PAGE, PROT_READ);
    wrong += try(page, 0) != 0;
    wrong += try(page, 1) != SIGSEGV;
    mprotect(page, PAGE, PROT_NONE);
    wrong += try(page, 0) != SIGSEGV;
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    wrong += *page != 1;
  }
  return wrong;
}

static int crash(void) {
  *(volatile int *)0x10 = 1;
  return 0;
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "crash")) return crash();
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGBUS, &action, 0);
  base = 0;
  say("null", (char *)0x18, 0);
  say("not canonical", (char *)0x1234567812345678, 0);
  base = mmap(0, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(base, 1, 8 * PAGE);
  mprotect(base + PAGE, PAGE, PROT_READ);
  mprotect(base + 2 * PAGE, PAGE, PROT_NONE);
  say("read-only, read", base + PAGE + 5, 0);
  say("read-only, write", base + PAGE + 5, 1);
  say("guard page, read", base + 2 * PAGE, 0);
  say("guard page, write", base + 3 * PAGE - 1, 1);
  say("beside it", base + 3 * PAGE, 1);
  mprotect(base, 8 * PAGE, PROT_READ | PROT_WRITE);
  say("writable again", base + 2 * PAGE, 1);
  printf("rounds: %d wrong\n", rounds());
  char *again = mmap(base + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  printf("mapped again: %d, beside it: %d\n", *again, again[PAGE]);
  char *reserved = mmap(0, 1ul << 33, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  base = reserved;
  mprotect(reserved, PAGE, PROT_READ | PROT_WRITE);
  say("reserved, opened", reserved, 1);
  say("reserved, beyond", reserved + PAGE, 1);
  say("reserved, far beyond", reserved + (1ul << 32), 0);
  munmap(reserved, 1ul << 33);
  say("unmapped", reserved, 0);
  base = again - 4 * PAGE;
  madvise(base + 5 * PAGE, PAGE, MADV_DONTNEED);
  printf("not needed: %d, kept beside it: %d\n", base[5 * PAGE], base[6 * PAGE]);
  // mov $7, %eax; ret, then with 9: code that changes under its mapping.
  unsigned char *code = mmap(0, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(code, "\xb8\x07\0\0\0\xc3", 6);
  int first = ((int (*)(void))code)();
  code[1] = 9;
  printf("code: %d, then %d\n", first, ((int (*)(void))code)());
  pthread_t thread;
  void *signal;
  pthread_create(&thread, 0, overflow, 0);
  pthread_join(thread, &signal);
  printf("thread's stack ends: signal %ld\n", (long)signal);
  printf("bad buffer: %zd\n", write(1, reserved, 1));
  return 3;
}
