/* System calls from many places: threads, processes, signals, files, errors. Prints what it saw. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int count, cleaned;
static volatile sig_atomic_t caught;

static void *work(void *argument) {
  pthread_mutex_lock(&lock);
  count += (int)(long)argument;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
  return argument;
}

static void clean(void *argument) { cleaned = *(int *)argument; }

/* Sits in read() until it is cancelled; the handler must run on the way out. */
static void *wait_for_ever(void *pipe_end) {
  int mark = 41;
  char byte;
  pthread_cleanup_push(clean, &mark);
  if (read(*(int *)pipe_end, &byte, 1) != 1) perror("read");
  pthread_cleanup_pop(0);
  return 0;
}

static void on_signal(int number) {
  int saved = errno;
  if (write(-1, "", 1) < 0) caught = number;
  errno = saved;
}

int main(void) {
  pthread_t threads[20];
  for (long i = 0; i < 20; i++) pthread_create(&threads[i], 0, work, (void *)i);
  pthread_mutex_lock(&lock);
  while (count < 190) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < 20; i++) pthread_join(threads[i], 0);
  printf("threads %d\n", count);

  int ends[2];
  if (pipe(ends)) return 1;
  pthread_t waiter;
  pthread_create(&waiter, 0, wait_for_ever, &ends[0]);
  usleep(20000);
  pthread_cancel(waiter);
  void *result;
  pthread_join(waiter, &result);
  printf("cancelled %d cleaned %d\n", result == PTHREAD_CANCELED, cleaned);

  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, 0);
  raise(SIGUSR1);
  printf("signal %d\n", caught == SIGUSR1);
  struct timespec interval = {0, 1000000};
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  caught = 0;
  timer_create(CLOCK_MONOTONIC, &event, &timer);
  timer_settime(timer, 0, &(struct itimerspec){.it_value = interval}, 0);
  int woken = poll(0, 0, 5000);
  printf("interrupted %d %s %d\n", woken, strerror(errno), caught == SIGUSR1);

  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    printf("child\n");
    exit(7);
  }
  int status;
  waitpid(child, &status, 0);
  printf("status %d\n", WEXITSTATUS(status));
  int missing = open("/no/such/file", O_RDONLY);
  printf("open %d %s\n", missing, strerror(errno));

  int epoll = epoll_create1(0), wake = eventfd(0, EFD_NONBLOCK);
  struct epoll_event ready = {.events = EPOLLIN, .data.u32 = 9};
  epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &ready);
  eventfd_write(wake, 1);
  ready.data.u32 = 0;
  printf("epoll %d", epoll_wait(epoll, &ready, 1, -1));
  printf(" %u\n", ready.data.u32);
  uid_t real, effective, saved;
  printf("uid %d\n", getresuid(&real, &effective, &saved) == 0 && real == getuid());
  return 5;
}
