// timerfd: single shots, intervals, absolute times, readiness.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static int fd;

static struct itimerspec spec(int64_t value_ms, int64_t interval_ms) {
    struct itimerspec result = {
        .it_value = {value_ms / 1000, value_ms % 1000 * 1000000},
        .it_interval = {interval_ms / 1000, interval_ms % 1000 * 1000000}};
    return result;
}
static void show_value(void) {
    struct itimerspec now;
    NEED(timerfd_gettime(fd, &now));
    printf("  armed: %d, interval %ld ms\n", now.it_value.tv_sec || now.it_value.tv_nsec,
           (long)(now.it_interval.tv_sec * 1000 + now.it_interval.tv_nsec / 1000000));
}
static void show_read(const char *what) {
    uint64_t ticks = 0;
    long count = read(fd, &ticks, 8);
    if (count == -1) printf("  %s: %s\n", what, error_name(errno));
    else printf("  %s: %llu\n", what, (unsigned long long)ticks);
}

int main(void) {
    title("mistakes");
    SHOW(timerfd_create(99, 0));
    SHOW(timerfd_create(CLOCK_MONOTONIC, 1));
    fd = NEED(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    struct itimerspec bad = {.it_value = {0, 1000000000}}, value, old;
    char small[4];
    SHOW(timerfd_settime(fd, 0, &bad, NULL));
    value = spec(1000, 0);
    SHOW(timerfd_settime(fd, 8, &value, NULL));
    SHOW(timerfd_settime(0, 0, &value, NULL));
    SHOW(timerfd_settime(99, 0, &value, NULL));
    SHOW(timerfd_gettime(0, &value));
    SHOW(write(fd, small, 4));
    SHOW(read(fd, small, 4));
    show_read("not armed");

    title("single shot");
    show_value();
    value = spec(50, 0);
    int64_t start = now_ms();
    SHOW(timerfd_settime(fd, 0, &value, &old));
    show_value();
    show_read("at once");
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    SHOW(poll(&entry, 1, 5000));
    printf("  ready %#x, %s\n", entry.revents, within(now_ms() - start, 49, 1000));
    show_read("expired");
    show_read("again");
    show_value();

    title("interval");
    value = spec(20, 20);
    NEED(timerfd_settime(fd, 0, &value, NULL));
    sleep_ms(110);
    uint64_t ticks = 0;
    NEED(read(fd, &ticks, 8));
    printf("  expirations in 110 ms: %s\n", ticks >= 4 && ticks < 30 ? "several" : "wrong");
    SHOW(poll(&entry, 1, 1000));
    show_value();
    value = spec(0, 0);
    SHOW(timerfd_settime(fd, 0, &value, &old));
    printf("  old interval %ld ms\n", (long)(old.it_interval.tv_nsec / 1000000));
    show_read("disarmed");
    show_value();
    close(fd);

    title("absolute times");
    for (int clock = CLOCK_REALTIME; clock <= CLOCK_MONOTONIC; clock++) {
        struct timespec now;
        fd = NEED(timerfd_create(clock, 0));
        clock_gettime(clock, &now);
        value = spec(now.tv_sec * 1000 + now.tv_nsec / 1000000 + 60, 0);
        start = now_ms();
        NEED(timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, NULL));
        show_read("blocking read");
        printf("  %s\n", within(now_ms() - start, 55, 1000));
        value = spec(1000, 0);
        NEED(timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, NULL));
        show_read("a time that has passed");
        close(fd);
    }
    fd = NEED(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
    value = spec(100000, 0);
    SHOW(timerfd_settime(fd, TFD_TIMER_CANCEL_ON_SET, &value, NULL));
    close(fd);
    fd = NEED(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK));

    title("edges");
    int set = NEED(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    value = spec(10, 10);
    NEED(timerfd_settime(fd, 0, &value, NULL));
    SHOW(epoll_wait(set, &event, 1, 5000));
    sleep_ms(50);
    SHOW(epoll_wait(set, &event, 1, 50));
    NEED(read(fd, &ticks, 8));
    SHOW(epoll_wait(set, &event, 1, 5000));
    return 0;
}
