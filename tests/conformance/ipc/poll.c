// poll, ppoll, select, pselect: readiness, masks, times that are left.
#include "check.h"
#include <poll.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static int pair[2], counter;

static void show(const char *what, int count, const struct pollfd *fds, int length) {
    printf("  %s: ", what);
    if (count == -1) printf("%s", error_name(errno));
    else printf("%d:", count);
    for (int at = 0; count >= 0 && at < length; at++) printf(" %#x", fds[at].revents);
    printf("\n");
    fflush(stdout);
}
static void *write_later(void *argument) {
    sleep_ms(50);
    NEED(write(*(int *)argument, "12345678", 8));
    return NULL;
}
static void *close_later(void *argument) {
    sleep_ms(50);
    close(*(int *)argument);
    return NULL;
}
static void handler(int signal) { (void)signal; }

static void polling(void) {
    pthread_t thread;
    title("poll");
    struct pollfd fds[4] = {{pair[0], POLLIN | POLLOUT, 0}, {-1, POLLIN, 9}, {counter, POLLIN, 9}, {900, POLLIN, 0}};
    show("a bad descriptor", poll(fds, 4, -1), fds, 4);
    show("without it", poll(fds, 3, -1), fds, 3);
    fds[0].events = POLLIN;
    show("nothing", poll(fds, 3, 0), fds, 3);
    int64_t start = now_ms();
    show("60 ms", poll(fds, 3, 60), fds, 3);
    printf("  took %s\n", within(now_ms() - start, 58, 1000));
    pthread_create(&thread, NULL, write_later, &pair[1]);
    show("written by a thread", poll(fds, 3, -1), fds, 3);
    pthread_join(thread, NULL);
    char buffer[16];
    NEED(read(pair[0], buffer, 16));
    show("no descriptors", poll(NULL, 0, 20), fds, 0);
    int file = NEED(open("/proc/self/exe", O_RDONLY));
    struct pollfd regular = {file, POLLIN | POLLOUT | POLLRDNORM, 0};
    show("a regular file", poll(&regular, 1, -1), &regular, 1);
    close(file);
    errno = 0;
    show("bad address", (int)syscall(SYS_poll, 8, 1, 0), fds, 0);

    title("ppoll");
    struct timespec time = {0, 60000000};
    SHOW(ppoll(fds, 3, &time, NULL));
    time.tv_nsec = 1000000000;
    SHOW(ppoll(fds, 3, &time, NULL));
    sigset_t mask, none;
    sigemptyset(&none);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    signal(SIGUSR1, handler);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    raise(SIGUSR1);
    time = (struct timespec){0, 30000000};
    SHOW(ppoll(fds, 3, &time, &mask));
    time = (struct timespec){5, 0};
    SHOW(ppoll(fds, 3, &time, &none));
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    time = (struct timespec){5, 0};
    uint64_t one = 1;
    NEED(write(counter, &one, 8));
    SHOW(syscall(SYS_ppoll, fds, 3, &time, NULL, 8));
    printf("  time left: %d\n", time.tv_sec == 4 || (time.tv_sec == 5 && time.tv_nsec == 0));
    SHOW(syscall(SYS_ppoll, fds, 3, &time, &none, 4));
    NEED(read(counter, &one, 8));
}

static void print_set(const char *name, const fd_set *set) {
    printf(" %s", name);
    if (FD_ISSET(pair[0], set)) printf(" socket");
    if (FD_ISSET(counter, set)) printf(" counter");
}

static fd_set in, out, except;

static void fill(void) {
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(pair[0], &in);
    FD_SET(counter, &in);
    FD_SET(pair[0], &out);
    FD_SET(counter, &except);
}

static void selecting(void) {
    pthread_t thread;
    struct timeval time = {0, 0};
    int top = (pair[0] > counter ? pair[0] : counter) + 1;
    title("select");
    fill();
    SHOW(select(top, &in, &out, &except, &time));
    print_set("in", &in), print_set("out", &out), print_set("except", &except), printf("\n");
    uint64_t one = 1;
    NEED(write(counter, &one, 8));
    fill();
    SHOW(select(top, &in, &out, &except, NULL));
    print_set("in", &in), print_set("out", &out), print_set("except", &except), printf("\n");
    NEED(read(counter, &one, 8));
    fill();
    SHOW(select(-1, &in, NULL, NULL, NULL));
    fill();
    time.tv_usec = 60000;
    SHOW(select(top, &in, NULL, NULL, &time));
    print_set("in", &in), printf("\n");
    printf("  time left: %ld %ld\n", (long)time.tv_sec, (long)time.tv_usec);
    fill();
    time = (struct timeval){5, 0};
    pthread_create(&thread, NULL, write_later, &pair[1]);
    SHOW(select(top, &in, NULL, &except, &time));
    pthread_join(thread, NULL);
    print_set("in", &in), printf(" left %s\n", within(time.tv_sec * 1000 + time.tv_usec / 1000, 3900, 4960));
    char buffer[16];
    NEED(read(pair[0], buffer, 16));
    int gone = dup(counter);
    close(gone);
    FD_ZERO(&in);
    FD_SET(gone, &in);
    SHOW(select(gone + 1, &in, NULL, NULL, NULL));
    time = (struct timeval){0, -1};
    SHOW(select(0, NULL, NULL, NULL, &time));
    sigset_t mask, none;
    sigemptyset(&none);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    raise(SIGUSR1);
    fill();
    SHOW(pselect(top, &in, NULL, NULL, NULL, &none));
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    title("a peer that closes while somebody waits");
    pthread_create(&thread, NULL, close_later, &pair[1]);
    struct pollfd fds[1] = {{pair[0], POLLIN | POLLRDHUP, 0}};
    show("poll", poll(fds, 1, 5000), fds, 1);
    pthread_join(thread, NULL);
    fill();
    SHOW(select(top, &in, &out, NULL, NULL));
    print_set("in", &in), print_set("out", &out), printf("\n");
}

int main(void) {
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    counter = NEED(eventfd(0, 0));
    polling();
    selecting();
    return 0;
}
