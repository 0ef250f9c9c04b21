// Loopback sockets for the programs here.
#include "../ipc/check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return name;
}

static int port_of(int fd) {
    struct sockaddr_in name;
    socklen_t len = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &len) ? -1 : ntohs(name.sin_port);
}

static int connect_to(int fd, int port) {
    struct sockaddr_in name = loopback(port);
    return connect(fd, (struct sockaddr *)&name, sizeof name);
}

static int bind_to(int fd, int port) {
    struct sockaddr_in name = loopback(port);
    return bind(fd, (struct sockaddr *)&name, sizeof name);
}

// A listener on a free port.
static int listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bind_to(fd, 0);
    listen(fd, 16);
    return fd;
}

// Two connected ends.
static void connected(int ends[2]) {
    int server = listener();
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    connect_to(ends[0], port_of(server));
    ends[1] = accept(server, 0, 0);
    close(server);
}

static int events_of(int fd, int events) {
    struct pollfd entry = {.fd = fd, .events = events};
    poll(&entry, 1, 0);
    return entry.revents;
}

// Waits until poll shows one of the events, which TCP may take a moment for.
static int await(int fd, int events) {
    struct pollfd entry = {.fd = fd, .events = events};
    poll(&entry, 1, 5000);
    return entry.revents & events;
}

static int error_of(int fd) {
    int error = -1;
    socklen_t len = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}
