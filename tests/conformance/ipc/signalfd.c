// signalfd: reading blocked signals, waiting for them, changing the mask.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static int fd;

static void show_read(const char *what) {
    struct signalfd_siginfo info[4];
    memset(info, 0, sizeof info);
    long count = read(fd, info, sizeof info);
    printf("  %s:", what);
    if (count == -1) printf(" %s", error_name(errno));
    for (long at = 0; at < count / (long)sizeof *info; at++)
        printf(" signal %u code %d value %d from me %d;", info[at].ssi_signo, info[at].ssi_code, info[at].ssi_int,
               info[at].ssi_pid == (uint32_t)getpid());
    printf("\n");
    fflush(stdout);
}
static void *send_later(void *argument) {
    sleep_ms(50);
    kill(getpid(), (int)(intptr_t)argument);
    return NULL;
}

int main(void) {
    pthread_t thread;
    sigset_t mask, only;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 3);
    sigemptyset(&only);
    sigaddset(&only, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);

    title("mistakes");
    SHOW(signalfd(-1, &mask, 1));
    SHOW(signalfd(99, &mask, 0));
    SHOW(signalfd(0, &mask, 0));
    SHOW(syscall(SYS_signalfd4, -1, &mask, 4, 0));
    fd = NEED(signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC));
    char small[64];
    SHOW(read(fd, small, sizeof small));
    SHOW(write(fd, small, sizeof small));

    title("reading");
    show_read("nothing");
    raise(SIGUSR2);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    union sigval value = {.sival_int = 77};
    sigqueue(getpid(), SIGRTMIN + 3, value);
    value.sival_int = 78;
    sigqueue(getpid(), SIGRTMIN + 3, value);
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    SHOW(poll(&entry, 1, 0));
    show_read("signals");
    show_read("rest");
    SHOW(poll(&entry, 1, 0));

    title("waiting");
    pthread_create(&thread, NULL, send_later, (void *)(intptr_t)SIGUSR1);
    SHOW(poll(&entry, 1, 5000));
    pthread_join(thread, NULL);
    show_read("polled");
    int set = NEED(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    SHOW(epoll_wait(set, &event, 1, 30));
    pthread_create(&thread, NULL, send_later, (void *)(intptr_t)SIGUSR2);
    SHOW(epoll_wait(set, &event, 1, 5000));
    pthread_join(thread, NULL);
    show_read("from epoll");
    SHOW(fcntl(fd, F_SETFL, 0));
    pthread_create(&thread, NULL, send_later, (void *)(intptr_t)SIGUSR1);
    show_read("blocking");
    pthread_join(thread, NULL);

    title("changing the mask");
    SHOW(signalfd(fd, &only, 0) == fd);
    NEED(fcntl(fd, F_SETFL, O_NONBLOCK));
    raise(SIGUSR1);
    show_read("not in the mask");
    raise(SIGUSR2);
    show_read("in the mask");
    SHOW(signalfd(fd, &mask, 0) == fd);
    show_read("in the mask again");
    return 0;
}
