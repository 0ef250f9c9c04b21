// Processor time: clocks of the process and its threads, and timers on them.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL

static long long read_clock(clockid_t clock) {
  struct timespec value = {0};
  if (clock_gettime(clock, &value)) return -errno;
  return value.tv_sec * 1000000000LL + value.tv_nsec;
}

static void burn(long long nanoseconds) {
  long long end = read_clock(CLOCK_THREAD_CPUTIME_ID) + nanoseconds;
  // Mostly outside of system calls, for the timer that counts only that.
  while (read_clock(CLOCK_THREAD_CPUTIME_ID) < end)
    for (volatile int at = 0; at < 50000; at++) {
    }
}

static void rest(long long milliseconds) {
  struct timespec wanted = {milliseconds / 1000, milliseconds % 1000 * MS};
  nanosleep(&wanted, 0);
}

static atomic_int hits[65];
static atomic_int stop;
static pid_t hit_by;

static void on_signal(int signal) {
  hits[signal]++;
  hit_by = gettid();
}

static void *burner(void *argument) {
  burn((long)argument * MS);
  return (void *)(read_clock(CLOCK_THREAD_CPUTIME_ID) / MS >= (long)argument ? "enough" : "too little");
}

static void *sleeper(void *argument) {
  rest(60);
  return (void *)(read_clock(CLOCK_THREAD_CPUTIME_ID) < 30 * MS ? "little" : "much");
}

static void *until_told(void *argument) {
  while (!stop) rest(1);
  return 0;
}

static void clocks(void) {
  puts("clocks");
  long long process = read_clock(CLOCK_PROCESS_CPUTIME_ID), own = read_clock(CLOCK_THREAD_CPUTIME_ID);
  rest(60);
  printf("asleep: process %s, thread %s\n",
         read_clock(CLOCK_PROCESS_CPUTIME_ID) - process < 30 * MS ? "little" : "much",
         read_clock(CLOCK_THREAD_CPUTIME_ID) - own < 30 * MS ? "little" : "much");
  own = read_clock(CLOCK_THREAD_CPUTIME_ID);
  pthread_t threads[2];
  void *said;
  pthread_create(&threads[0], 0, burner, (void *)60);
  pthread_create(&threads[1], 0, sleeper, 0);
  pthread_join(threads[0], &said);
  printf("burner %s\n", (char *)said);
  pthread_join(threads[1], &said);
  printf("sleeper %s\n", (char *)said);
  printf("waiting thread %s\n", read_clock(CLOCK_THREAD_CPUTIME_ID) - own < 30 * MS ? "little" : "much");
  printf("process has both: %d\n", read_clock(CLOCK_PROCESS_CPUTIME_ID) - process >= 60 * MS);
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  long thread_ms = usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000;
  getrusage(RUSAGE_SELF, &usage);
  long self_ms = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
  printf("usage: thread below process %d\n", thread_ms + 40 < self_ms);
}

static void others(void) {
  puts("clocks of others");
  clockid_t clock;
  pthread_t thread;
  pthread_create(&thread, 0, until_told, 0);
  printf("getcpuclockid %d\n", pthread_getcpuclockid(thread, &clock));
  printf("read %d\n", read_clock(clock) >= 0);
  printf("resolution %d\n", clock_getres(clock, 0));
  stop = 1;
  pthread_join(thread, 0);
  printf("of the process %d\n", clock_getcpuclockid(0, &clock));
  printf("read %d\n", read_clock(clock) >= 0);
  clock = ~99999u << 3 | 2;
  printf("of nobody %lld\n", read_clock(clock));
  clock = ~99999u << 3 | 6;
  printf("of no thread %lld\n", read_clock(clock));
  struct timespec none = {0}, wanted = {0, 20 * MS};
  printf("sleep on own %d\n", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &wanted, 0));
  pthread_create(&thread, 0, burner, (void *)60);
  long long before = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  printf("sleep on process %d\n", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &wanted, 0));
  printf("others used it %d\n", read_clock(CLOCK_PROCESS_CPUTIME_ID) - before >= 20 * MS);
  printf("past %d\n", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &none, 0));
  pthread_join(thread, 0);
}

static void intervals(int which, int signal) {
  printf("interval timer %d\n", which);
  struct itimerval timer = {.it_value = {0, 10000}, .it_interval = {0, 10000}}, now;
  hits[signal] = 0;
  printf("set %d\n", setitimer(which, &timer, 0));
  rest(80);
  printf("asleep: few %d\n", hits[signal] <= 2);
  burn(150 * MS);
  printf("busy: many %d\n", hits[signal] >= 3);
  printf("get %d\n", getitimer(which, &now));
  printf("interval %ld, left %d\n", (long)now.it_interval.tv_usec,
         now.it_value.tv_usec > 0 && now.it_value.tv_usec <= 20000);
  printf("stop %d\n", setitimer(which, &(struct itimerval){0}, &now));
  int before = hits[signal];
  burn(40 * MS);
  printf("stopped %d\n", hits[signal] == before);
  getitimer(which, &now);
  printf("left %ld\n", (long)now.it_value.tv_usec);
}

static void *watched(void *argument) {
  while (!stop) rest(1);
  burn(60 * MS);
  while (stop != 2) rest(1);
  return 0;
}

static void posix_timers(void) {
  puts("timers of threads");
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
  event._sigev_un._tid = gettid();
  timer_t timer;
  struct itimerspec when = {{0, 10 * MS}, {0, 10 * MS}}, now;
  printf("create %d\n", timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer));
  hits[SIGPROF] = 0;
  printf("set %d\n", timer_settime(timer, 0, &when, 0));
  rest(60);
  printf("asleep: few %d\n", hits[SIGPROF] <= 2);
  burn(80 * MS);
  printf("busy: many %d, here %d\n", hits[SIGPROF] >= 3, hit_by == gettid());
  printf("get %d\n", timer_gettime(timer, &now));
  printf("left %d\n", now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 20 * MS);
  timer_delete(timer);
  stop = 0;
  pthread_t thread;
  clockid_t clock;
  pthread_create(&thread, 0, watched, 0);
  pthread_getcpuclockid(thread, &clock);
  printf("create for another %d\n", timer_create(clock, &event, &timer));
  when.it_interval.tv_nsec = 0;
  when.it_value.tv_nsec = 30 * MS;
  hits[SIGPROF] = 0;
  printf("set %d\n", timer_settime(timer, 0, &when, 0));
  burn(60 * MS);
  printf("own work %d\n", hits[SIGPROF]);
  stop = 1;
  for (int at = 0; at < 2000 && !hits[SIGPROF]; at++) rest(1);
  printf("its work %d\n", hits[SIGPROF]);
  stop = 2;
  pthread_join(thread, 0);
  timer_delete(timer);
}

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  signal(SIGPROF, on_signal);
  signal(SIGVTALRM, on_signal);
  clocks();
  others();
  intervals(ITIMER_PROF, SIGPROF);
  intervals(ITIMER_VIRTUAL, SIGVTALRM);
  printf("unknown %d\n", setitimer(3, &(struct itimerval){0}, 0));
  posix_timers();
}
