// Threads: mutexes, condition variables, semaphores, barriers, keys, cancellation,
// robust mutexes. Prints the same natively and in the guest.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 50, ROUNDS = 2000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;
static atomic_long atomic_counter;
static __thread int own;
static pthread_key_t key;
static atomic_int destroyed;
static pthread_barrier_t barrier;
static sem_t semaphore;
static int turn;

static void destroy(void *value) { atomic_fetch_add(&destroyed, (int)(long)value); }

static void *work(void *argument) {
  own = (int)(long)argument;
  pthread_setspecific(key, (void *)1);
  double x = own;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&atomic_counter, 1);
    x = x * 1.0000001 + 0.5;
  }
  pthread_barrier_wait(&barrier);
  return (void *)(long)(own + (x > 0 ? 0 : 1000));
}

static void *ping(void *argument) {
  int me = (int)(long)argument;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&lock);
    while (turn != me) pthread_cond_wait(&changed, &lock);
    turn = !me;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
  }
  return 0;
}

static void *await_turn(void *argument) {
  pthread_mutex_lock(&lock);
  while (!turn) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  return argument;
}

static void *forever(void *argument) {
  for (;;) sleep(100);
  return argument;
}

static volatile int spinning = 1;
static void *spin(void *argument) {
  while (spinning) {}
  return argument;
}

static void *die_holding(void *mutex) {
  pthread_mutex_lock(mutex);
  return 0;
}

// A thread that does little takes little memory, whatever its stack could be.
static void many(void) {
  enum { MANY = 1000 };
  static pthread_t all[MANY];
  int made = 0;
  pthread_mutex_lock(&lock);
  turn = 0;
  while (made < MANY && !pthread_create(&all[made], 0, await_turn, 0)) made++;
  turn = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < made; i++) pthread_join(all[i], 0);
  printf("many %d\n", made);
}

int main(void) {
  pthread_t threads[THREADS];
  pthread_key_create(&key, destroy);
  pthread_barrier_init(&barrier, 0, THREADS);
  for (long i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], 0, work, (void *)i)) return printf("create failed\n"), 1;
  long sum = 0;
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    sum += (long)result;
  }
  printf("counter %ld atomic %ld results %ld destroyed %d\n", counter, atomic_load(&atomic_counter), sum, destroyed);

  pthread_create(&threads[0], 0, ping, (void *)0);
  pthread_create(&threads[1], 0, ping, (void *)1);
  pthread_join(threads[0], 0);
  pthread_join(threads[1], 0);
  printf("ping-pong %d\n", turn);

  many();

  // A thread in a tight loop does not starve the others.
  pthread_create(&threads[0], 0, spin, 0);
  struct timespec pause = {0, 30000000};
  nanosleep(&pause, 0);
  spinning = 0;
  pthread_join(threads[0], 0);
  printf("spinner joined\n");

  pthread_create(&threads[0], 0, forever, 0);
  pthread_cancel(threads[0]);
  void *result;
  pthread_join(threads[0], &result);
  printf("cancelled %d\n", result == PTHREAD_CANCELED);

  sem_init(&semaphore, 0, 0);
  struct timespec when;
  clock_gettime(CLOCK_REALTIME, &when);
  when.tv_nsec += 10000000;
  if (when.tv_nsec >= 1000000000) when.tv_sec++, when.tv_nsec -= 1000000000;
  errno = 0;
  int status = sem_timedwait(&semaphore, &when);
  printf("semaphore %d %s\n", status, strerror(errno));

  pthread_mutex_lock(&lock);
  clock_gettime(CLOCK_REALTIME, &when);
  when.tv_nsec += 10000000;
  if (when.tv_nsec >= 1000000000) when.tv_sec++, when.tv_nsec -= 1000000000;
  printf("condition %s\n", strerror(pthread_cond_timedwait(&changed, &lock, &when)));
  pthread_mutex_unlock(&lock);

  pthread_mutex_t robust;
  pthread_mutexattr_t attribute;
  pthread_mutexattr_init(&attribute);
  pthread_mutexattr_setrobust(&attribute, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attribute);
  pthread_create(&threads[0], 0, die_holding, &robust);
  pthread_join(threads[0], 0);
  printf("robust %s\n", strerror(pthread_mutex_lock(&robust)));

  char name[16];
  pthread_setname_np(pthread_self(), "renamed");
  pthread_getname_np(pthread_self(), name, sizeof name);
  printf("name %s\n", name);
  size_t size;
  void *base;
  pthread_attr_t attributes;
  printf("stack known %d", pthread_getattr_np(pthread_self(), &attributes));
  pthread_attr_getstack(&attributes, &base, &size);
  printf(" holds this frame %d\n", (char *)&size > (char *)base && (char *)&size < (char *)base + size);
  printf("ids %d\n", syscall(SYS_gettid) == getpid());
  for (int i = 0; i < 1000; i++) {
    if (pthread_create(&threads[0], 0, (void *(*)(void *))getpid, 0)) return printf("thread %d failed\n", i), 1;
    pthread_join(threads[0], 0);
  }
  printf("1000 threads came and went\n");
  return 0;
}
