// The program is at the lowest privilege everywhere: at its start, after a system
// call, in threads, in signal handlers and after them, and after preemption; and
// what needs privilege is refused.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long ring(void) {
  unsigned long cs;
  __asm__ volatile("mov %%cs, %0" : "=r"(cs));
  return cs & 3;
}

static unsigned long stack_ring(void) {
  unsigned long ss;
  __asm__ volatile("mov %%ss, %0" : "=r"(ss));
  return ss & 3;
}

static long raw_getpid(void) {
  long result = SYS_getpid;
  // Not in libc, so never patched: the instruction itself.
  __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
  return result;
}

static volatile unsigned long in_handler = 9;
static void note(int signal) {
  (void)signal;
  raw_getpid();
  in_handler = ring();
}

static sigjmp_buf back;
static volatile unsigned long in_fault_handler = 9;
static void fault(int signal) {
  in_fault_handler = ring();
  siglongjmp(back, signal);
}

static volatile int spinning = 1;
static void *work(void *result) {
  // Long enough to be preempted in user code.
  while (spinning) {}
  raw_getpid();
  *(unsigned long *)result = ring();
  return 0;
}

#define REFUSED(name, code)                                        \
  do {                                                             \
    int signal = sigsetjmp(back, 1);                               \
    if (signal == 0) {                                             \
      __asm__ volatile(code : : : "rax", "rcx", "rdx", "memory");  \
      printf("%s: carried out\n", name);                           \
    } else {                                                       \
      printf("%s: signal %d in ring %lu\n", name, signal, in_fault_handler); \
    }                                                              \
  } while (0)

int main(void) {
  printf("start %lu %lu\n", ring(), stack_ring());
  int same = raw_getpid() == getpid();
  printf("system call %d %lu %lu\n", same, ring(), stack_ring());
  struct sigaction action = {.sa_handler = note};
  sigaction(SIGUSR1, &action, 0);
  raise(SIGUSR1);
  printf("handler %lu, after it %lu\n", in_handler, ring());
  pthread_t threads[4];
  unsigned long rings[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, &rings[i]);
  struct timespec pause = {0, 30000000};
  nanosleep(&pause, 0);
  spinning = 0;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
  printf("threads %lu %lu %lu %lu\n", rings[0], rings[1], rings[2], rings[3]);
  action.sa_handler = fault;
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGILL, &action, 0);
  REFUSED("cli", "cli");
  REFUSED("hlt", "hlt");
  REFUSED("mov cr3", "mov %%cr3, %%rax\n mov %%rax, %%cr3");
  REFUSED("wrmsr", "mov $0xc0000082, %%ecx\n wrmsr");
  REFUSED("in", "mov $0x60, %%dx\n in %%dx, %%al");
  REFUSED("sysret", "sysretq");
  printf("end %lu\n", ring());
  return 0;
}
