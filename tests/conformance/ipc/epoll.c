// epoll: level and edge triggering, one-shot, nesting, identity of items, waiting threads.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static int set;

static int control(int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(set, operation, fd, &event);
}

static void print_events(uint32_t events) {
    static const struct { uint32_t bit; const char *name; } names[] = {
        {EPOLLIN, "IN"}, {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"}, {EPOLLERR, "ERR"}, {EPOLLHUP, "HUP"},
        {EPOLLRDNORM, "RDNORM"}, {EPOLLWRNORM, "WRNORM"}, {EPOLLRDHUP, "RDHUP"}};
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if (events & names[at].bit) {
            printf(" %s", names[at].name);
            events &= ~names[at].bit;
        }
    if (events) printf(" %#x", events);
}

static void wait_and_print(const char *what, int fd, int max, int timeout) {
    struct epoll_event events[16];
    int count = epoll_wait(fd, events, max, timeout);
    printf("  %s:", what);
    if (count == -1) printf(" %s", error_name(errno));
    if (count == 0) printf(" nothing");
    for (int at = 0; at < count; at++) {
        printf("%s %llu", at ? "," : "", (unsigned long long)events[at].data.u64);
        print_events(events[at].events);
    }
    printf("\n");
    fflush(stdout);
}

static void add_to(int fd, uint64_t value) { NEED(write(fd, &value, 8)); }
static uint64_t take_from(int fd) {
    uint64_t value = 0;
    return read(fd, &value, 8) == 8 ? value : 0;
}

static void triggering(void) {
    title("level triggering");
    int fd = NEED(eventfd(0, EFD_NONBLOCK));
    NEED(control(EPOLL_CTL_ADD, fd, EPOLLIN, 1));
    wait_and_print("empty", set, 8, 0);
    add_to(fd, 1);
    wait_and_print("written", set, 8, 0);
    wait_and_print("again", set, 8, 0);
    take_from(fd);
    wait_and_print("read", set, 8, 0);

    title("edge triggering");
    add_to(fd, 1);
    NEED(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET, 2));
    wait_and_print("ready when modified", set, 8, 0);
    wait_and_print("again", set, 8, 0);
    add_to(fd, 1);
    wait_and_print("written while readable", set, 8, 0);
    add_to(fd, 1);
    take_from(fd);
    wait_and_print("written and read", set, 8, 0);
    NEED(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | EPOLLET, 3));
    wait_and_print("both directions", set, 8, 0);
    add_to(fd, 1);
    wait_and_print("both, written", set, 8, 0);
    take_from(fd);
    wait_and_print("both, read", set, 8, 0);

    title("one shot");
    NEED(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 4));
    add_to(fd, 1);
    wait_and_print("written", set, 8, 0);
    add_to(fd, 1);
    wait_and_print("disabled", set, 8, 0);
    NEED(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT | EPOLLET, 5));
    wait_and_print("armed again", set, 8, 0);
    wait_and_print("disabled", set, 8, 0);
    NEED(control(EPOLL_CTL_DEL, fd, 0, 0));
    wait_and_print("deleted", set, 8, 0);
    NEED(control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, 6));
    wait_and_print("added while ready", set, 8, 0);
    close(fd);
    wait_and_print("closed", set, 8, 0);
}

static void hang_ups(void) {
    title("hang-ups and errors");
    int ends[2], pipes[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    NEED(control(EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLRDHUP, 1));
    NEED(shutdown(ends[1], SHUT_WR));
    wait_and_print("peer shut down writing", set, 8, 0);
    NEED(control(EPOLL_CTL_MOD, ends[0], 0, 1));
    wait_and_print("nothing wanted", set, 8, 0);
    close(ends[1]);
    wait_and_print("peer closed", set, 8, 0);
    close(ends[0]);

    NEED(pipe(pipes));
    NEED(control(EPOLL_CTL_ADD, pipes[0], EPOLLIN, 2));
    NEED(control(EPOLL_CTL_ADD, pipes[1], 0, 3));
    NEED(write(pipes[1], "x", 1));
    int writer = dup(pipes[1]);
    close(pipes[1]);
    wait_and_print("a duplicate keeps the writer open", set, 8, 0);
    close(writer);
    wait_and_print("writer closed", set, 8, 0);
    close(pipes[0]);

    NEED(pipe(pipes));
    NEED(control(EPOLL_CTL_ADD, pipes[1], EPOLLOUT, 4));
    close(pipes[0]);
    wait_and_print("reader closed", set, 8, 0);
    close(pipes[1]);
}

static void mistakes(void) {
    title("mistakes");
    int fd = NEED(eventfd(0, 0)), file = NEED(open("/proc/self/exe", O_RDONLY));
    struct epoll_event event = {.events = EPOLLIN};
    SHOW(epoll_create(0));
    SHOW(epoll_create1(1));
    SHOW(control(EPOLL_CTL_ADD, 999, EPOLLIN, 0));
    SHOW(epoll_ctl(999, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_ctl(fd, EPOLL_CTL_ADD, set, &event));
    SHOW(control(EPOLL_CTL_ADD, set, EPOLLIN, 0));
    SHOW(control(EPOLL_CTL_ADD, file, EPOLLIN, 0));
    SHOW(control(EPOLL_CTL_MOD, fd, EPOLLIN, 0));
    SHOW(control(EPOLL_CTL_DEL, fd, EPOLLIN, 0));
    SHOW(control(99, fd, EPOLLIN, 0));
    SHOW(epoll_ctl(set, EPOLL_CTL_ADD, fd, NULL));
    SHOW(control(EPOLL_CTL_ADD, fd, EPOLLIN, 0));
    SHOW(control(EPOLL_CTL_ADD, fd, EPOLLIN, 0));
    SHOW(epoll_wait(set, &event, 0, 0));
    SHOW(epoll_wait(fd, &event, 1, 0));
    SHOW(epoll_wait(999, &event, 1, 0));
    SHOW(epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
    SHOW(control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0));
    SHOW(control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE, 9));
    SHOW(control(EPOLL_CTL_MOD, fd, EPOLLIN, 0));
    add_to(fd, 1);
    wait_and_print("exclusive", set, 8, 0);
    close(fd);
    close(file);
}

static void nesting(void) {
    title("sets in sets");
    int inner = NEED(epoll_create1(EPOLL_CLOEXEC)), fd = NEED(eventfd(0, 0));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
    NEED(epoll_ctl(inner, EPOLL_CTL_ADD, fd, &event));
    NEED(control(EPOLL_CTL_ADD, inner, EPOLLIN, 2));
    event.data.u64 = 3;
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, set, &event));
    wait_and_print("outer, nothing ready", set, 8, 0);
    add_to(fd, 1);
    wait_and_print("outer", set, 8, 0);
    wait_and_print("outer again", set, 8, 0);
    wait_and_print("inner", inner, 8, 0);
    take_from(fd);
    wait_and_print("outer after reading", set, 8, 0);
    close(inner);
    close(fd);
}

static void fairness(void) {
    title("turns");
    int fds[5];
    for (int at = 0; at < 5; at++) {
        fds[at] = NEED(eventfd(1, 0));
        NEED(control(EPOLL_CTL_ADD, fds[at], EPOLLIN, at));
    }
    for (int round = 0; round < 5; round++) wait_and_print("two at a time", set, 2, 0);
    for (int at = 0; at < 5; at++) close(fds[at]);
}

static void reused_descriptor(void) {
    title("a descriptor that is used again");
    int first = NEED(eventfd(1, 0));
    NEED(control(EPOLL_CTL_ADD, first, EPOLLIN, 1));
    int other = NEED(dup(first));
    close(first);
    int second = NEED(eventfd(1, 0));
    printf("  same number: %d\n", first == second);
    SHOW(control(EPOLL_CTL_ADD, second, EPOLLIN, 2));
    wait_and_print("both files", set, 8, 0);
    SHOW(control(EPOLL_CTL_DEL, second, 0, 0));
    wait_and_print("the old one stays", set, 8, 0);
    close(other);
    wait_and_print("last descriptor closed", set, 8, 0);
    close(second);
}

static void *add_later(void *argument) {
    sleep_ms(50);
    NEED(control(EPOLL_CTL_ADD, *(int *)argument, EPOLLIN, 7));
    return NULL;
}
static void *write_later(void *argument) {
    sleep_ms(50);
    add_to(*(int *)argument, 1);
    return NULL;
}
static void handler(int signal) { (void)signal; }
static void *signal_later(void *argument) {
    sleep_ms(50);
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    return NULL;
}

static int woken_count;
static void *count_wakes(void *argument) {
    struct epoll_event event;
    (void)argument;
    if (epoll_wait(set, &event, 1, 400) == 1) __atomic_add_fetch(&woken_count, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void waiting(void) {
    title("waiting");
    pthread_t thread;
    int fd = NEED(eventfd(0, EFD_NONBLOCK));
    int64_t start = now_ms();
    wait_and_print("60 ms, nothing", set, 8, 60);
    printf("  took %s\n", within(now_ms() - start, 58, 1000));
    add_to(fd, 1);
    pthread_create(&thread, NULL, add_later, &fd);
    wait_and_print("added by another thread", set, 8, -1);
    pthread_join(thread, NULL);
    take_from(fd);
    pthread_create(&thread, NULL, write_later, &fd);
    wait_and_print("written by another thread", set, 8, 5000);
    pthread_join(thread, NULL);
    take_from(fd);

    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t self = pthread_self();
    pthread_create(&thread, NULL, signal_later, &self);
    wait_and_print("a signal, with SA_RESTART", set, 8, 5000);
    pthread_join(thread, NULL);

    sigset_t mask, none;
    sigemptyset(&none);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    raise(SIGUSR1);
    struct epoll_event event;
    SHOW(epoll_pwait(set, &event, 1, 30, &mask));
    SHOW(epoll_pwait(set, &event, 1, 5000, &none));
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    printf("  mask is back: %d\n", sigismember(&after, SIGUSR1));
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);

    struct timespec time = {0, 60000000};
    start = now_ms();
    SHOW(syscall(SYS_epoll_pwait2, set, &event, 1, &time, NULL, 8));
    printf("  took %s\n", within(now_ms() - start, 58, 1000));

    title("one event, several waiting threads");
    pthread_t threads[4];
    NEED(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET, 8));
    for (int at = 0; at < 4; at++) pthread_create(&threads[at], NULL, count_wakes, NULL);
    sleep_ms(100);
    add_to(fd, 1);
    for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
    printf("  threads that got an edge: %d\n", woken_count);
    close(fd);
}

int main(void) {
    set = NEED(epoll_create1(0));
    triggering();
    hang_ups();
    mistakes();
    nesting();
    fairness();
    reused_descriptor();
    waiting();
    return 0;
}
