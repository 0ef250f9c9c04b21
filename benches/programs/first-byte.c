/* Times requests to a server that sleeps, one line of nanoseconds for each:

     first-byte PORT PATH MARK

   Reads a line from standard input for each request, connects to
   127.0.0.1:PORT, asks for PATH and reads until the answer holds MARK, a text
   that only the frozen memory knows. Prints when the first byte was sent and
   when the piece of the answer that holds MARK came, or "lost". */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  char request[512], answer[65536], line[64];
  snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", argv[2]);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  while (fgets(line, sizeof line, stdin)) {
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 60};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    long long begin = now(), end = 0;
    if (connect(s, (struct sockaddr *)&at, sizeof at) == 0) {
      begin = now();
      if (write(s, request, strlen(request)) > 0) {
        size_t have = 0;
        ssize_t got;
        while ((got = read(s, answer + have, sizeof answer - 1 - have)) > 0) {
          long long when = now();
          have += (size_t)got;
          answer[have] = 0;
          if (end == 0 && strstr(answer, argv[3])) end = when;
        }
      }
    }
    close(s);
    if (end)
      printf("%lld %lld\n", begin, end);
    else
      puts("lost");
    fflush(stdout);
  }
  return 0;
}
