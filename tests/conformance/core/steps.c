// A program that steps through itself with the trap flag: every instruction traps
// once, and a system call counts as one of them. Prints the same natively and in the guest.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int traps, seen_at[64];
static char *volatile start;

static void note(int signal, siginfo_t *info, void *raw) {
  ucontext_t *context = raw;
  char *at = (char *)context->uc_mcontext.gregs[REG_RIP];
  if (info->si_addr != at || signal != SIGTRAP) printf("trap at %p, not %p\n", info->si_addr, (void *)at);
  if (traps < 64) seen_at[traps] = (int)(at - start);
  traps++;
}

// The flag takes effect after the instruction that follows popf.
#define STEP_FROM(first)                                                        \
  ({                                                                            \
    long result = SYS_getpid;                                                   \
    traps = 0;                                                                  \
    __asm__ volatile(                                                           \
        "lea 1f(%%rip), %%rcx\n mov %%rcx, %1\n"                                \
        "sub $256, %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n"              \
        "1: " first "\n syscall\n nop\n nop\n"                                  \
        "pushfq\n andq $~0x100, (%%rsp)\n popfq\n add $256, %%rsp\n"            \
        : "+a"(result), "=m"(start)                                             \
        :                                                                       \
        : "rcx", "r11", "memory", "cc");                                        \
    result;                                                                     \
  })

static void say(const char *what, long result) {
  printf("%s: %s, traps at", what, result == getpid() ? "right" : "wrong");
  for (int i = 0; i < traps && i < 64; i++) printf(" %d", seen_at[i]);
  printf("\n");
}

int main(void) {
  struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
  sigaction(SIGTRAP, &action, 0);
  say("before the call", STEP_FROM("nop"));
  say("from the call on", STEP_FROM(""));
  // Through libc, whose instructions are its own affair: it must only come back.
  __asm__ volatile("sub $256, %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n add $256, %%rsp" : : : "memory", "cc");
  int parent = getppid();
  __asm__ volatile("sub $256, %%rsp\n pushfq\n andq $~0x100, (%%rsp)\n popfq\n add $256, %%rsp" : : : "memory", "cc");
  printf("libc %d\n", parent == getppid());
  return 0;
}
