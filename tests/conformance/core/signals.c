// Signals: delivery, masks, alternate stacks, restarts, contexts. Prints the same
// natively and in the guest.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count, last, on_alt, nested;
static char alt[65536];
static pthread_t main_thread;

static void note(int signal) {
  count++;
  last = signal;
  char local;
  on_alt = &local > alt && &local < alt + sizeof alt;
}

static volatile sig_atomic_t value;
static void with_value(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)context;
  value = info->si_value.sival_int;
}

static void skip(int signal, siginfo_t *info, void *raw) {
  (void)signal;
  ucontext_t *context = raw;
  // The faulting instruction is two bytes (mov (%rax),%al) in probe().
  context->uc_mcontext.gregs[REG_RIP] += 2;
  context->uc_mcontext.gregs[REG_RBX] = (greg_t)(uintptr_t)info->si_addr;
}

static unsigned long probe(unsigned long address) {
  unsigned long seen = 0;
  __asm__ volatile("mov %1, %%rax\n mov (%%rax), %%al\n mov %%rbx, %0" : "=r"(seen) : "r"(address) : "rax", "rbx", "memory");
  return seen;
}

static sigjmp_buf back;
static void jump(int signal) { siglongjmp(back, signal); }
static volatile int depth;
static int recurse(int n) {
  volatile char pad[4096];
  pad[0] = (char)n;
  depth = n;
  return recurse(n + 1) + pad[0];
}

static void *kicker(void *argument) {
  struct timespec pause = {0, 20000000};
  nanosleep(&pause, 0);
  pthread_kill(main_thread, *(int *)argument);
  return 0;
}

static void check_restart(int flags) {
  int fds[2], signal = SIGUSR1;
  char byte = 0;
  struct sigaction action = {.sa_handler = note, .sa_flags = flags};
  sigaction(SIGUSR1, &action, 0);
  if (pipe(fds)) exit(1);
  pthread_t thread;
  count = 0;
  pthread_create(&thread, 0, kicker, &signal);
  if (flags & SA_RESTART) {
    // The handler runs, the read goes on; a byte from an alarm ends it.
    if (write(fds[1], "", 0)) exit(1);
    struct timespec pause = {0, 60000000};
    (void)pause;
    pthread_join(thread, 0);
    if (write(fds[1], "z", 1) != 1) exit(1);
    ssize_t got = read(fds[0], &byte, 1);
    printf("restart: %zd %c handler %d\n", got, byte, (int)count);
  } else {
    errno = 0;
    ssize_t got = read(fds[0], &byte, 1);
    printf("no restart: %zd %s handler %d\n", got, strerror(errno), (int)count);
    pthread_join(thread, 0);
  }
  close(fds[0]);
  close(fds[1]);
}

static int pipe_for_restart[2];
static void feed(int signal) {
  (void)signal;
  if (write(pipe_for_restart[1], "r", 1) != 1) _exit(9);
}

static volatile long spins;
static volatile sig_atomic_t stop;
static void stop_spinning(int signal) {
  (void)signal;
  stop = 1;
}
static void *spinner(void *argument) {
  (void)argument;
  while (!stop) spins++;
  return 0;
}

int main(void) {
  main_thread = pthread_self();
  signal(SIGUSR1, note);
  raise(SIGUSR1);
  printf("raised: %d %d\n", (int)count, (int)last);

  sigset_t set, old, pending;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  signal(SIGUSR2, note);
  sigprocmask(SIG_BLOCK, &set, &old);
  kill(getpid(), SIGUSR2);
  kill(getpid(), SIGUSR2);
  sigpending(&pending);
  printf("blocked: %d pending %d\n", (int)last, sigismember(&pending, SIGUSR2));
  sigprocmask(SIG_SETMASK, &old, 0);
  printf("unblocked: %d count %d\n", (int)last, (int)count);

  stack_t stack = {.ss_sp = alt, .ss_size = sizeof alt};
  sigaltstack(&stack, 0);
  struct sigaction action = {.sa_handler = note, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &action, 0);
  raise(SIGUSR1);
  printf("on alternate stack: %d\n", (int)on_alt);

  struct sigaction fault = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &fault, 0);
  printf("changed context: %lx\n", probe(0x1234));

  struct sigaction overflow = {.sa_handler = jump, .sa_flags = SA_ONSTACK};
  sigaction(SIGSEGV, &overflow, 0);
  int got = sigsetjmp(back, 1);
  if (!got) recurse(0);
  printf("stack overflow: signal %d deep %d\n", got, depth > 1000);

  sigaction(SIGFPE, &overflow, 0);
  volatile int zero = 0;
  got = sigsetjmp(back, 1);
  if (!got) zero = 1 / zero;
  printf("division: signal %d\n", got);
  sigaction(SIGILL, &overflow, 0);
  got = sigsetjmp(back, 1);
  if (!got) __asm__ volatile("ud2");
  printf("ud2: signal %d\n", got);
  sigaction(SIGTRAP, &overflow, 0);
  got = sigsetjmp(back, 1);
  if (!got) __asm__ volatile("int3");
  printf("int3: signal %d\n", got);
  got = sigsetjmp(back, 1);
  sigaction(SIGSEGV, &overflow, 0);
  if (!got) *(volatile char *)0x8000000000000000ul = 1;
  printf("non-canonical: signal %d\n", got);
  got = sigsetjmp(back, 1);
  if (!got) __asm__ volatile("hlt");
  printf("hlt: signal %d\n", got);

  struct sigaction queued = {.sa_sigaction = with_value, .sa_flags = SA_SIGINFO};
  sigaction(SIGRTMIN, &queued, 0);
  sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42});
  printf("queued value: %d\n", (int)value);

  check_restart(0);
  check_restart(SA_RESTART);
  if (pipe(pipe_for_restart)) return 1;
  struct sigaction feeding = {.sa_handler = feed, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &feeding, 0);
  struct itimerval timer = {.it_value = {0, 20000}};
  setitimer(ITIMER_REAL, &timer, 0);
  char byte = 0;
  ssize_t length = read(pipe_for_restart[0], &byte, 1);
  printf("read restarted after handler: %zd %c\n", length, byte);

  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, 0);
  struct timespec limit = {0, 10000000};
  siginfo_t info;
  errno = 0;
  printf("sigtimedwait: %d %s\n", sigtimedwait(&set, &info, &limit), strerror(errno));
  kill(getpid(), SIGUSR1);
  printf("sigwaitinfo: %d from self %d\n", sigwaitinfo(&set, &info), info.si_pid == getpid());
  sigprocmask(SIG_UNBLOCK, &set, 0);

  // A thread that spins in user code is interrupted.
  struct sigaction stopping = {.sa_handler = stop_spinning};
  sigaction(SIGURG, &stopping, 0);
  pthread_t thread;
  pthread_create(&thread, 0, spinner, 0);
  struct timespec pause = {0, 20000000};
  nanosleep(&pause, 0);
  pthread_kill(thread, SIGURG);
  pthread_join(thread, 0);
  printf("spinner stopped: %d\n", spins > 0);

  // Vector state survives a handler and other threads.
  double sum = 0;
  for (int i = 0; i < 1000; i++) {
    sum += i * 0.5;
    if (i % 100 == 0) raise(SIGUSR1);
  }
  printf("floating point: %.1f\n", sum);
  struct timespec remaining = {0, 0};
  timer.it_value.tv_usec = 10000;
  struct sigaction noting = {.sa_handler = note};
  sigaction(SIGALRM, &noting, 0);
  setitimer(ITIMER_REAL, &timer, 0);
  struct timespec second = {1, 0};
  errno = 0;
  int slept = nanosleep(&second, &remaining);
  printf("nanosleep: %d %s left %d\n", slept, strerror(errno), remaining.tv_sec == 0 && remaining.tv_nsec > 500000000);

  timer_t posix;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
  sigprocmask(SIG_BLOCK, &set, 0);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, 0);
  timer_create(CLOCK_MONOTONIC, &event, &posix);
  struct itimerspec when = {.it_value = {0, 5000000}, .it_interval = {0, 5000000}};
  timer_settime(posix, 0, &when, 0);
  int ticks = 0;
  while (ticks < 3 && sigwaitinfo(&set, &info) == SIGUSR2) ticks++;
  printf("posix timer: %d code %d\n", ticks, info.si_code == SI_TIMER);
  timer_delete(posix);
  struct sigaction ignored = {.sa_handler = SIG_IGN};
  sigaction(SIGTERM, &ignored, 0);
  kill(getpid(), SIGTERM);
  printf("ignored\n");
  fflush(stdout);
  signal(SIGTERM, SIG_DFL);
  kill(getpid(), SIGTERM);
  printf("not reached\n");
  return 0;
}
