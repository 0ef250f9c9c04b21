// Connecting without waiting, and listeners of both families at one port.
#include "net.h"

static void without_waiting(void) {
    puts("without waiting");
    int server = listener(), port = port_of(server);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(connect_to(fd, port));
    SHOW(await(fd, POLLOUT));
    SHOW(error_of(fd));
    SHOW(connect_to(fd, port));
    SHOW(connect_to(fd, port));
    int other = accept(server, 0, 0);
    SHOW(write(fd, "x", 1));
    close(other), close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(connect_to(fd, port));
    SHOW(await(fd, POLLOUT));
    SHOW(connect_to(fd, port));
    SHOW(connect_to(fd, port));
    close(fd), close(server);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect_to(fd, port));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(connect_to(fd, port));
    SHOW(await(fd, POLLOUT));
    SHOW(error_of(fd));
    close(fd);
}

static int listen_at(int family, const void *address, socklen_t len) {
    int fd = socket(family, SOCK_STREAM, 0), one = 1;
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    SHOW(bind(fd, address, len));
    SHOW(listen(fd, 8));
    return fd;
}

static void both_families(void) {
    puts("both families");
    int probe = listener();
    int port = port_of(probe);
    close(probe);
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int of_six = listen_at(AF_INET6, &six, sizeof six);
    int of_four = listen_at(AF_INET, &four, sizeof four);
    six.sin6_addr = in6addr_loopback;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect_to(fd, port));
    SHOW(await(of_four, POLLIN));
    SHOW(events_of(of_six, POLLIN));
    close(fd);
    fd = socket(AF_INET6, SOCK_STREAM, 0);
    SHOW(connect(fd, (void *)&six, sizeof six));
    SHOW(await(of_six, POLLIN));
    close(fd), close(of_four);
    fd = socket(AF_INET6, SOCK_STREAM, 0);
    SHOW(connect(fd, (void *)&six, sizeof six));
    close(fd), close(of_six);
}

int main(void) {
    without_waiting();
    both_families();
}
