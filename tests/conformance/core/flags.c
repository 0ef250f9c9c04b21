// Flags that a kernel must not stumble over survive a system call: direction,
// alignment check, nested task, identification. Prints the same natively and in the guest.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

// The flags after the system call `number` that was entered with `flag` set.
static unsigned long flags_after(unsigned long flag, long number, long a, long b, long c, long *result) {
  unsigned long after;
  register long rax __asm__("rax") = number;
  register unsigned long saved __asm__("rbx");
  __asm__ volatile(
      "sub $256, %%rsp\n pushfq\n mov (%%rsp), %%rbx\n or %[flag], (%%rsp)\n popfq\n"
      "syscall\n"
      "pushfq\n mov (%%rsp), %[after]\n mov %%rbx, (%%rsp)\n popfq\n add $256, %%rsp\n"
      : "+a"(rax), [after] "=&r"(after), "=&b"(saved)
      : [flag] "r"(flag), "D"(a), "S"(b), "d"(c)
      : "rcx", "r11", "memory", "cc");
  *result = rax;
  return after & (1ul << 10 | 1ul << 14 | 1ul << 18 | 1ul << 21);
}

static void handler(int signal) { (void)signal; }

int main(void) {
  static const int bits[] = {10, 14, 18, 21};
  signal(SIGUSR1, handler);
  for (int i = 0; i < 4; i++) {
    long result;
    unsigned long after = flags_after(1ul << bits[i], SYS_getpid, 0, 0, 0, &result);
    printf("bit %d: %lx %d\n", bits[i], after, result == getpid());
    // A system call that copies at odd addresses, and one that delivers a signal.
    char odd[32];
    long moved;
    int ends[2];
    if (pipe(ends) || write(ends[1], "0123456789", 10) != 10) return 1;
    after = flags_after(1ul << bits[i], SYS_read, ends[0], (long)(odd + 3), 9, &moved);
    printf("read: %lx %ld %.9s\n", after, moved, odd + 3);
    // What a handler inherits of NT is nobody's business.
    if (bits[i] == 14) continue;
    after = flags_after(1ul << bits[i], SYS_kill, getpid(), SIGUSR1, 0, &result);
    printf("signal: %lx %ld\n", after, result);
  }
  return 0;
}
