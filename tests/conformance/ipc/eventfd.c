// eventfd: counting, semaphores, limits, blocking.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

static int fd;

static void *read_later(void *argument) {
    uint64_t value;
    (void)argument;
    sleep_ms(50);
    NEED(read(fd, &value, 8));
    return NULL;
}
static void *write_later(void *argument) {
    uint64_t value = 3;
    (void)argument;
    sleep_ms(50);
    NEED(write(fd, &value, 8));
    return NULL;
}
static void show_poll(void) {
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    NEED(poll(&entry, 1, 0));
    printf("  poll: %#x\n", entry.revents);
}

int main(void) {
    uint64_t value = 0;
    char small[4];
    title("flags");
    SHOW(eventfd(0, 2));
    fd = NEED(eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK));
    printf("  status flags %#o, close on exec %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    title("counting");
    SHOW(read(fd, small, 4));
    SHOW(write(fd, small, 4));
    SHOW(read(fd, &value, 8));
    printf("  value %llu\n", (unsigned long long)value);
    SHOW(read(fd, &value, 8));
    show_poll();
    value = 2;
    SHOW(write(fd, &value, 8));
    SHOW(write(fd, &value, 8));
    show_poll();
    SHOW(read(fd, &value, 8));
    printf("  value %llu\n", (unsigned long long)value);
    title("limits");
    value = UINT64_MAX;
    SHOW(write(fd, &value, 8));
    value = UINT64_MAX - 1;
    SHOW(write(fd, &value, 8));
    show_poll();
    value = 1;
    SHOW(write(fd, &value, 8));
    SHOW(read(fd, &value, 8));
    printf("  value %llu\n", (unsigned long long)value);
    SHOW(pread(fd, &value, 8, 0));
    close(fd);
    title("semaphore");
    fd = NEED(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    for (int at = 0; at < 3; at++) {
        value = 0;
        SHOW(read(fd, &value, 8));
        printf("  value %llu\n", (unsigned long long)value);
    }
    close(fd);
    title("blocking");
    pthread_t thread;
    fd = NEED(eventfd(0, 0));
    pthread_create(&thread, NULL, write_later, NULL);
    SHOW(read(fd, &value, 8));
    printf("  value %llu\n", (unsigned long long)value);
    pthread_join(thread, NULL);
    value = UINT64_MAX - 1;
    NEED(write(fd, &value, 8));
    pthread_create(&thread, NULL, read_later, NULL);
    value = 7;
    SHOW(write(fd, &value, 8));
    pthread_join(thread, NULL);
    SHOW(read(fd, &value, 8));
    printf("  value %llu\n", (unsigned long long)value);
    return 0;
}
