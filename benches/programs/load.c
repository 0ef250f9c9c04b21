/* A closed-loop HTTP client: each of CONNECTIONS asks again when it has its
   answer. One thread.

     load PORT CONNECTIONS WARM_UP_MS MEASURE_MS

   Prints one line: requests a second, then minimum, median and 99th percentile
   of the latency in microseconds, then the number of requests measured. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, BUCKETS = 200000 };

struct connection {
  int socket;
  long long asked;
  int have;
  char answer[4096];
};

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static struct connection connections[MOST];
/* One bucket a microsecond; the last holds all above. */
static unsigned histogram[BUCKETS];

static void give_up(const char *what) {
  fprintf(stderr, "load: %s\n", what);
  exit(1);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void ask(struct connection *c) {
  c->have = 0;
  c->asked = now();
  if (send(c->socket, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof request - 1))
    give_up("a request cannot be sent");
}

static void open_connection(struct connection *c, int port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->socket = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(c->socket, (struct sockaddr *)&at, sizeof at) != 0) give_up("nobody listens");
  int one = 1;
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Whether the whole answer is there. */
static int complete(struct connection *c) {
  c->answer[c->have] = 0;
  char *body = strstr(c->answer, "\r\n\r\n");
  if (body == NULL) return 0;
  if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) give_up("an answer is not 200");
  char *length = strcasestr(c->answer, "\r\ncontent-length:");
  if (length != NULL) return c->have >= body + 4 - c->answer + atoi(length + 17);
  return strstr(body + 2, "\r\n0\r\n\r\n") != NULL;
}

static void receive(struct connection *c) {
  ssize_t got = recv(c->socket, c->answer + c->have, sizeof c->answer - 1 - (size_t)c->have, MSG_DONTWAIT);
  if (got <= 0) give_up("a connection ended");
  c->have += (int)got;
}

static double percentile(long long requests, double share) {
  long long left = (long long)((double)requests * share);
  int bucket = 0;
  while (bucket < BUCKETS - 1 && left >= histogram[bucket]) left -= histogram[bucket++];
  return bucket;
}

int main(int argc, char **argv) {
  if (argc != 5) give_up("usage: load PORT CONNECTIONS WARM_UP_MS MEASURE_MS");
  int port = atoi(argv[1]), count = atoi(argv[2]);
  if (count < 1 || count > MOST) give_up("so many connections are not possible");
  int poll = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    open_connection(&connections[i], port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].socket, &event);
  }
  long long from = now() + atoll(argv[3]) * 1000000, until = from + atoll(argv[4]) * 1000000;
  long long requests = 0, time = now();
  for (int i = 0; i < count; i++) ask(&connections[i]);
  while (time < until) {
    struct epoll_event events[64];
    int ready = epoll_wait(poll, events, 64, -1);
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      receive(c);
      if (!complete(c)) continue;
      time = now();
      if (c->asked >= from) {
        long long us = (time - c->asked) / 1000;
        histogram[us < BUCKETS ? us : BUCKETS - 1]++;
        requests++;
      }
      ask(c);
    }
  }
  int least = 0;
  while (least < BUCKETS - 1 && histogram[least] == 0) least++;
  printf("%.1f %d %.1f %.1f %lld\n", (double)requests / ((double)(time - from) / 1e9), least,
         percentile(requests, 0.5), percentile(requests, 0.99), requests);
  return 0;
}
