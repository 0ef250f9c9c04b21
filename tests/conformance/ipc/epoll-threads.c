// epoll sets shared by several threads: nothing that was written is lost, nothing is seen twice.
#include "check.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { FILES = 16, WORKERS = 4, WRITERS = 2, ROUNDS = 2000 };

static int set, stop, fds[FILES];
static uint64_t taken, collisions;
static int busy[FILES];
static uint32_t mode;

static void *work(void *argument) {
    (void)argument;
    for (;;) {
        struct epoll_event events[3];
        int count = epoll_wait(set, events, 3, -1);
        for (int at = 0; at < count; at++) {
            uint32_t file = events[at].data.u32;
            if (file == FILES) return NULL;
            if (mode & EPOLLONESHOT)
                __atomic_add_fetch(&collisions, __atomic_exchange_n(&busy[file], 1, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
            uint64_t value;
            // Edge triggered: read until there is nothing left.
            while (read(fds[file], &value, 8) == 8) __atomic_add_fetch(&taken, value, __ATOMIC_SEQ_CST);
            __atomic_store_n(&busy[file], 0, __ATOMIC_SEQ_CST);
            if (mode & EPOLLONESHOT) {
                struct epoll_event again = {.events = EPOLLIN | mode, .data.u32 = file};
                NEED(epoll_ctl(set, EPOLL_CTL_MOD, fds[file], &again));
            }
        }
    }
}

static void *produce(void *argument) {
    uint64_t one = 1;
    for (int round = 0; round < ROUNDS; round++)
        NEED(write(fds[((intptr_t)argument * 5 + round * 7) % FILES], &one, 8));
    return NULL;
}

static void run(const char *what, uint32_t behaviour) {
    pthread_t workers[WORKERS], writers[WRITERS];
    title(what);
    mode = behaviour;
    taken = collisions = 0;
    set = NEED(epoll_create1(0));
    for (int at = 0; at < FILES; at++) {
        struct epoll_event event = {.events = EPOLLIN | mode, .data.u32 = at};
        fds[at] = NEED(eventfd(0, EFD_NONBLOCK));
        NEED(epoll_ctl(set, EPOLL_CTL_ADD, fds[at], &event));
    }
    for (intptr_t at = 0; at < WORKERS; at++) pthread_create(&workers[at], NULL, work, NULL);
    for (intptr_t at = 0; at < WRITERS; at++) pthread_create(&writers[at], NULL, produce, (void *)at);
    for (int at = 0; at < WRITERS; at++) pthread_join(writers[at], NULL);
    int64_t start = now_ms();
    while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) < WRITERS * ROUNDS && now_ms() - start < 5000) sleep_ms(5);
    printf("  taken %llu of %d, two threads at one file %llu times\n", (unsigned long long)taken, WRITERS * ROUNDS,
           (unsigned long long)collisions);
    fflush(stdout);
    // Level triggered and never read: every worker sees it.
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = FILES};
    stop = NEED(eventfd(1, 0));
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, stop, &event));
    for (int at = 0; at < WORKERS; at++) pthread_join(workers[at], NULL);
    title("  all workers have ended");
    for (int at = 0; at < FILES; at++) close(fds[at]);
    close(stop);
    close(set);
}

int main(void) {
    run("level triggered", 0);
    run("edge triggered", EPOLLET);
    run("one shot", EPOLLONESHOT);
    run("one shot, edge triggered", EPOLLONESHOT | EPOLLET);
    return 0;
}
