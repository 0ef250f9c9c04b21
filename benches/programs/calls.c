/* What a system call costs inside a program: `calls ROUNDS` prints a line a
   round and call, "NAME NANOSECONDS". */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 200, ROUND_NS = 10000000 };

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void ask_parent(void) { getppid(); }
static void read_clock(void) { now(); }

/* As many calls as fit into a round: a trapped one takes a thousand times as
   long as one that is not. */
static double cost(void (*call)(void)) {
  long long calls = 0, start = now(), end;
  do {
    for (int i = 0; i < BATCH; i++) call();
    calls += BATCH;
    end = now();
  } while (end - start < ROUND_NS);
  return (double)(end - start) / (double)calls;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 1;
  for (int round = 0; round < rounds; round++) {
    printf("getppid %.3f\n", cost(ask_parent));
    printf("clock_gettime %.3f\n", cost(read_clock));
  }
  return 0;
}
