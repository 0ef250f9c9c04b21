// pipes and FIFOs: capacity, atomic writes, broken pipes, readiness, sizes.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static int ends[2];
static char block[200000];

static void show_poll(const char *what, int fd) {
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    NEED(poll(&entry, 1, 0));
    printf("  %s: %#x\n", what, entry.revents);
}
static void *drain(void *argument) {
    (void)argument;
    static char buffer[1000];
    long total = 0, count;
    while ((count = read(ends[0], buffer, sizeof buffer)) > 0) total += count;
    return (void *)total;
}
enum { RECORD = 512, RECORDS = 400, WRITERS = 4 };
static void *write_records(void *argument) {
    char record[RECORD];
    memset(record, 'a' + (int)(intptr_t)argument, RECORD);
    for (int at = 0; at < RECORDS; at++) NEED(write(ends[1], record, RECORD));
    return NULL;
}
static int caught;
static void on_pipe(int signal) { caught = signal; }

static void basics(void) {
    title("basics");
    struct stat status;
    int available = -1;
    SHOW(pipe2(ends, 1));
    NEED(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    printf("  status flags %#o %#o\n", fcntl(ends[0], F_GETFL), fcntl(ends[1], F_GETFL));
    NEED(fstat(ends[0], &status));
    printf("  mode %#o\n", status.st_mode & (S_IFMT | 0777));
    SHOW(read(ends[0], block, 10));
    SHOW(read(ends[1], block, 10));
    SHOW(write(ends[0], block, 10));
    SHOW(lseek(ends[0], 0, SEEK_SET));
    SHOW(write(ends[1], "hello", 5));
    NEED(ioctl(ends[0], FIONREAD, &available));
    printf("  available %d\n", available);
    SHOW(read(ends[0], block, 3));
    SHOW(read(ends[0], block, 10));
    SHOW(read(ends[0], block, 0));
    show_poll("reader, empty", ends[0]);
    show_poll("writer, empty", ends[1]);
}

static void filling(void) {
    title("filling");
    SHOW(write(ends[1], block, sizeof block));
    SHOW(write(ends[1], block, 1));
    show_poll("writer, full", ends[1]);
    SHOW(read(ends[0], block, 4096));
    show_poll("writer, one page free", ends[1]);
    SHOW(write(ends[1], block, 4096));
    SHOW(fcntl(ends[1], F_GETPIPE_SZ));
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 4096));
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 100000));
    SHOW(write(ends[1], block, sizeof block));
    while (read(ends[0], block, sizeof block) > 0) {
    }
    SHOW(fcntl(ends[1], F_SETPIPE_SZ, 1));
    SHOW(write(ends[1], block, 4000));
    SHOW(write(ends[1], block, 4000));
    SHOW(read(ends[0], block, sizeof block));
}

static void closing(void) {
    title("closing");
    SHOW(write(ends[1], "end", 3));
    close(ends[1]);
    show_poll("reader, writer closed", ends[0]);
    SHOW(read(ends[0], block, 10));
    show_poll("reader, at the end", ends[0]);
    SHOW(read(ends[0], block, 10));
    close(ends[0]);
    NEED(pipe(ends));
    close(ends[0]);
    signal(SIGPIPE, on_pipe);
    SHOW(write(ends[1], "x", 1));
    printf("  SIGPIPE: %d\n", caught == SIGPIPE);
    show_poll("writer, reader closed", ends[1]);
    close(ends[1]);
}

static void blocking(void) {
    title("blocking");
    pthread_t thread, writers[WRITERS];
    void *total;
    NEED(pipe(ends));
    pthread_create(&thread, NULL, drain, NULL);
    SHOW(write(ends[1], block, sizeof block));
    close(ends[1]);
    pthread_join(thread, &total);
    printf("  read by the other thread: %ld\n", (long)total);
    close(ends[0]);

    title("atomic writes");
    NEED(pipe(ends));
    for (intptr_t at = 0; at < WRITERS; at++) pthread_create(&writers[at], NULL, write_records, (void *)at);
    int torn = 0;
    for (int record = 0; record < WRITERS * RECORDS; record++) {
        char buffer[RECORD];
        int got = 0;
        while (got < RECORD) got += (int)NEED(read(ends[0], buffer + got, RECORD - got));
        for (int at = 1; at < RECORD; at++) torn += buffer[at] != buffer[0];
    }
    for (int at = 0; at < WRITERS; at++) pthread_join(writers[at], NULL);
    printf("  torn bytes: %d\n", torn);
    close(ends[0]);
    close(ends[1]);
}

static char path[64];
static void *open_writer(void *argument) {
    (void)argument;
    sleep_ms(50);
    int fd = NEED(open(path, O_WRONLY));
    NEED(write(fd, "through", 7));
    close(fd);
    return NULL;
}

static void fifos(void) {
    title("FIFO");
    pthread_t thread;
    snprintf(path, sizeof path, "/tmp/conformance-fifo-%d", (int)getpid());
    SHOW(mkfifo(path, 0600));
    int none = (int)(open(path, O_WRONLY | O_NONBLOCK));
    printf("  writer without reader: %s\n", none == -1 ? error_name(errno) : "open");
    int fd = NEED(open(path, O_RDONLY | O_NONBLOCK));
    show_poll("reader without writer", fd);
    SHOW(read(fd, block, 10));
    close(fd);
    pthread_create(&thread, NULL, open_writer, NULL);
    fd = NEED(open(path, O_RDONLY));
    SHOW(read(fd, block, 10));
    SHOW(read(fd, block, 10));
    pthread_join(thread, NULL);
    close(fd);
    unlink(path);
}

int main(int count, char **arguments) {
    (void)arguments;
    basics();
    filling();
    closing();
    blocking();
    if (count == 1) fifos();
    return 0;
}
