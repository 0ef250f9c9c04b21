// splice, tee and vmsplice between pipes, files and sockets, and sendfile's corners.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int ends[2], others[2];
static char block[300000];

static int waiting(int fd) {
    int count = -1;
    ioctl(fd, FIONREAD, &count);
    return count;
}
static int memory_file(const char *text) {
    int fd = NEED(memfd_create("file", 0));
    NEED(write(fd, text, strlen(text)));
    NEED(lseek(fd, 0, SEEK_SET));
    return fd;
}
static void renew(void) {
    static int made;
    if (made) {
        close(ends[0]);
        close(ends[1]);
        close(others[0]);
        close(others[1]);
    }
    made = 1;
    NEED(pipe2(ends, 0));
    NEED(pipe2(others, 0));
}
static void show_content(int fd, int count) {
    char text[64] = "";
    long got = read(fd, text, count);
    printf("  content %ld \"%.*s\"\n", got, got > 0 ? (int)got : 0, text);
}

static void files(void) {
    title("files and pipes");
    renew();
    int file = memory_file("0123456789");
    loff_t offset = 3;
    SHOW(splice(file, NULL, ends[1], NULL, 4, 0));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(splice(file, &offset, ends[1], NULL, 4, SPLICE_F_MOVE | SPLICE_F_MORE));
    printf("  offset %ld\n", (long)offset);
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(waiting(ends[0]));
    show_content(ends[0], 64);
    offset = 10;
    SHOW(splice(file, &offset, ends[1], NULL, 4, 0));
    offset = 100;
    SHOW(splice(file, &offset, ends[1], NULL, 4, 0));
    NEED(write(ends[1], "abcdef", 6));
    offset = 8;
    SHOW(splice(ends[0], NULL, file, &offset, 4, 0));
    printf("  offset %ld\n", (long)offset);
    SHOW(splice(ends[0], NULL, file, NULL, 100, 0));
    NEED(lseek(file, 0, SEEK_SET));
    show_content(file, 64);
    close(file);
}
static void pipes(void) {
    title("between pipes");
    renew();
    NEED(write(ends[1], "hello world", 11));
    SHOW(splice(ends[0], NULL, others[1], NULL, 5, 0));
    SHOW(waiting(ends[0]));
    SHOW(waiting(others[0]));
    SHOW(tee(ends[0], others[1], 100, 0));
    SHOW(waiting(ends[0]));
    show_content(others[0], 64);
    show_content(ends[0], 64);
    SHOW(splice(ends[0], NULL, others[1], NULL, 5, SPLICE_F_NONBLOCK));
    SHOW(tee(ends[0], others[1], 5, SPLICE_F_NONBLOCK));
    close(ends[1]);
    SHOW(splice(ends[0], NULL, others[1], NULL, 5, 0));
    SHOW(tee(ends[0], others[1], 5, 0));
    NEED(ends[1] = dup(0));
}
static void refusals(void) {
    title("refusals");
    renew();
    int file = memory_file("0123456789");
    int pair[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    loff_t offset = 0, negative = -1;
    NEED(write(ends[1], "hello", 5));
    SHOW(splice(file, NULL, pair[0], NULL, 4, 0));
    SHOW(splice(ends[0], NULL, ends[1], NULL, 4, 0));
    SHOW(splice(ends[0], &offset, file, NULL, 4, 0));
    SHOW(splice(file, NULL, ends[1], &offset, 4, 0));
    SHOW(splice(file, &negative, ends[1], NULL, 4, 0));
    SHOW(splice(ends[1], NULL, file, NULL, 4, 0));
    SHOW(splice(file, NULL, ends[0], NULL, 4, 0));
    SHOW(splice(99, NULL, ends[1], NULL, 4, 0));
    SHOW(splice(file, NULL, ends[1], NULL, 4, 0x10));
    SHOW(splice(file, NULL, pair[0], NULL, 0, 0));
    SHOW(tee(file, ends[1], 4, 0));
    SHOW(tee(ends[0], file, 4, 0));
    SHOW(tee(ends[0], ends[1], 4, 0));
    SHOW(tee(ends[0], others[1], 0, 0));
    int append = NEED(open("/dev/shm", O_TMPFILE | O_RDWR | O_APPEND, 0600));
    SHOW(splice(ends[0], NULL, append, NULL, 4, 0));
    struct iovec vector = {"text", 4};
    SHOW(vmsplice(file, &vector, 1, 0));
    SHOW(vmsplice(99, &vector, 1, 0));
    SHOW(vmsplice(ends[1], &vector, 1, 0x10));
    signal(SIGPIPE, SIG_IGN);
    close(others[0]);
    SHOW(splice(file, NULL, others[1], NULL, 4, 0));
    SHOW(splice(ends[0], NULL, others[1], NULL, 4, 0));
    SHOW(vmsplice(others[1], &vector, 1, 0));
    NEED(others[0] = dup(0));
    close(append);
    close(pair[0]);
    close(pair[1]);
    close(file);
}
static void *feed(void *argument) {
    usleep(20000);
    NEED(write((int)(intptr_t)argument, "late", 4));
    return NULL;
}
static void *drain(void *argument) {
    static char buffer[4096];
    long total = 0, count;
    while ((count = read((int)(intptr_t)argument, buffer, sizeof buffer)) > 0) total += count;
    return (void *)total;
}
static void sockets(void) {
    title("sockets");
    renew();
    int pair[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    NEED(write(pair[1], "from a socket", 13));
    SHOW(splice(pair[0], NULL, ends[1], NULL, 6, 0));
    SHOW(splice(pair[0], NULL, ends[1], NULL, 100, 0));
    show_content(ends[0], 64);
    NEED(write(ends[1], "to a socket", 11));
    SHOW(splice(ends[0], NULL, pair[0], NULL, 100, 0));
    show_content(pair[1], 64);
    NEED(fcntl(pair[0], F_SETFL, O_NONBLOCK));
    SHOW(splice(pair[0], NULL, ends[1], NULL, 6, 0));
    NEED(fcntl(pair[0], F_SETFL, 0));
    pthread_t thread;
    pthread_create(&thread, NULL, feed, (void *)(intptr_t)pair[1]);
    SHOW(splice(pair[0], NULL, ends[1], NULL, 6, 0));
    pthread_join(thread, NULL);
    show_content(ends[0], 64);
    pthread_create(&thread, NULL, feed, (void *)(intptr_t)ends[1]);
    SHOW(splice(ends[0], NULL, pair[0], NULL, 6, 0));
    pthread_join(thread, NULL);
    show_content(pair[1], 64);
    close(pair[1]);
    SHOW(splice(pair[0], NULL, ends[1], NULL, 6, 0));
    close(pair[0]);
}
static void much(void) {
    title("much");
    renew();
    int file = NEED(memfd_create("much", 0));
    for (size_t at = 0; at < sizeof block; at++) block[at] = (char)(at * 7);
    NEED(write(file, block, sizeof block));
    NEED(lseek(file, 0, SEEK_SET));
    pthread_t thread;
    void *drained;
    pthread_create(&thread, NULL, drain, (void *)(intptr_t)others[0]);
    long total = 0, in, out;
    while ((in = splice(file, NULL, ends[1], NULL, sizeof block, 0)) > 0) {
        for (; in > 0; in -= out, total += out) {
            out = splice(ends[0], NULL, others[1], NULL, in, 0);
            if (out <= 0) break;
        }
    }
    printf("  moved %ld, end %ld\n", total, in);
    close(others[1]);
    pthread_join(thread, &drained);
    printf("  drained %ld\n", (long)drained);
    NEED(others[1] = dup(0));
    renew();
    struct iovec vector[2] = {{"one ", 4}, {"two", 3}};
    SHOW(vmsplice(ends[1], vector, 2, SPLICE_F_GIFT));
    char text[16] = "";
    struct iovec into = {text, 16};
    SHOW(vmsplice(ends[0], &into, 1, 0));
    printf("  \"%s\"\n", text);
    SHOW(vmsplice(ends[0], &into, 1, SPLICE_F_NONBLOCK));
    close(file);
}
static void sendfiles(void) {
    title("sendfile");
    renew();
    int file = memory_file("0123456789"), target = memory_file("");
    off_t offset = 2, negative = -1;
    SHOW(sendfile(ends[1], file, &offset, 3));
    SHOW(sendfile(target, file, NULL, 4));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(sendfile(target, file, &offset, 0));
    SHOW(sendfile(target, file, &negative, 1));
    SHOW(sendfile(file, ends[0], NULL, 3));
    SHOW(sendfile(99, file, NULL, 3));
    SHOW(sendfile(ends[0], file, NULL, 3));
    SHOW(sendfile(target, ends[1], NULL, 3));
    SHOW(sendfile(target, file, NULL, 100));
    SHOW(sendfile(target, file, NULL, 100));
    NEED(lseek(target, 0, SEEK_SET));
    show_content(target, 64);
    show_content(ends[0], 64);
    close(file);
    close(target);
}
int main(void) {
    files();
    pipes();
    refusals();
    sockets();
    much();
    sendfiles();
}
