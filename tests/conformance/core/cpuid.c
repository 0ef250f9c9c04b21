/*
 * What CPUID says is the same however it is asked: by an instruction that the
 * builder may have made a jump, and by one that nobody has seen before. It
 * changes four registers and nothing else.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
  uint32_t eax, ebx, ecx, edx;
} answer;

static answer asked(uint32_t leaf, uint32_t index) {
  answer it;
  __asm__ volatile("cpuid" : "=a"(it.eax), "=b"(it.ebx), "=c"(it.ecx), "=d"(it.edx) : "a"(leaf), "c"(index));
  return it;
}

/* mov eax, edi; mov ecx, esi; mov r8, rdx; mov r9, rbx; cpuid;
   mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx; mov [r8+12], edx; mov rbx, r9; ret */
static const unsigned char CODE[] = {
    0x89, 0xf8, 0x89, 0xf1, 0x49, 0x89, 0xd0, 0x49, 0x89, 0xd9, 0x0f, 0xa2, 0x41, 0x89, 0x00, 0x41,
    0x89, 0x58, 0x04, 0x41, 0x89, 0x48, 0x08, 0x41, 0x89, 0x50, 0x0c, 0x4c, 0x89, 0xcb, 0xc3,
};

static const uint32_t FIRST[] = {0, 0x40000000, 0x80000000};

static void registers_survive(void) {
  uint64_t before = 0x1122334455667788, r8 = before, r9 = before + 1, r10 = before + 2, r11 = before + 3, flags;
  uint64_t rsi = before + 4, high;
  register uint64_t eight __asm__("r8") = r8, nine __asm__("r9") = r9, ten __asm__("r10") = r10;
  register uint64_t eleven __asm__("r11") = r11;
  double vector = 1.5, kept = 0;
  __asm__ volatile(
      "movsd %[vector], %%xmm7\n\t"
      "mov $-1, %%rax\n\t"
      "xor %%ecx, %%ecx\n\t"
      "stc\n\t"
      "std\n\t"
      "mov $0, %%eax\n\t"
      "cpuid\n\t"
      "pushfq\n\t"
      "popq %[flags]\n\t"
      "cld\n\t"
      "movsd %%xmm7, %[kept]\n\t"
      "mov %%rbx, %[high]\n\t"
      : [flags] "=r"(flags), [kept] "=m"(kept), [high] "=r"(high), "+S"(rsi), "+r"(eight), "+r"(nine), "+r"(ten),
        "+r"(eleven)
      : [vector] "m"(vector)
      : "rax", "rbx", "rcx", "rdx", "xmm7", "cc", "memory");
  int others = eight == r8 && nine == r9 && ten == r10 && eleven == r11 && rsi == before + 4;
  printf("carry %d, direction %d, vector %.1f, upper half %d\n", (int)(flags & 1), (int)(flags >> 10 & 1), kept,
         (int)(high >> 32));
  printf("others %s\n", others ? "kept" : "lost");
}

int main(void) {
  /* Some answers name the processor: stay on one. */
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_setaffinity(0, sizeof one, &one);
  unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(code, CODE, sizeof CODE);
  void (*unseen)(uint32_t, uint32_t, answer *) = (void *)code;
  int different = 0;
  for (int range = 0; range < 3; range++) {
    uint32_t first = FIRST[range], last = asked(first, 0).eax;
    if (last < first || last > first + 64) last = first;
    /* Two leaves and sub-leaves more than there are. */
    for (uint32_t leaf = first; leaf <= last + 2; leaf++) {
      for (uint32_t index = 0; index < 24; index++) {
        answer one = asked(leaf, index), other;
        unseen(leaf, index, &other);
        if (memcmp(&one, &other, sizeof one) == 0) continue;
        different++;
        printf("leaf %x.%u: %x %x %x %x, not %x %x %x %x\n", leaf, index, one.eax, one.ebx, one.ecx, one.edx,
               other.eax, other.ebx, other.ecx, other.edx);
      }
    }
  }
  printf("different answers: %d\n", different);
  registers_survive();
  return 0;
}
