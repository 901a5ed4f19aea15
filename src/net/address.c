/* The registries as tables; see address.h. */
#include "net/address.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static const struct {
    uint32_t net;
    int bits;
} special4[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared by carriers */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local, clouds' metadata */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* 6to4 relays */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 3},  /* multicast, reserved, broadcast */
};

static bool is_public4(uint32_t a) {
    for (size_t i = 0; i < sizeof special4 / sizeof special4[0]; i++)
        if ((a ^ special4[i].net) >> (32 - special4[i].bits) == 0)
            return false;
    return true;
}

static uint32_t word(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool is_public6(const uint8_t *p) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    if (memcmp(p, mapped, 12) == 0 || memcmp(p, nat64, 12) == 0)
        return is_public4(word(p + 12));
    if (p[0] == 0x20 && p[1] == 0x02) /* 6to4 */
        return is_public4(word(p + 2));
    if ((p[0] & 0xe0) != 0x20)
        return false;
    if (word(p) >> 9 == 0x20010000 >> 9) /* 2001::/23: protocol assignments, Teredo */
        return false;
    if (word(p) == 0x20010db8 || word(p) >> 12 == 0x3fff0000 >> 12) /* documentation */
        return false;
    return true;
}

bool address_is_public(const struct sockaddr *a) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof v4);
        return is_public4(ntohl(v4.sin_addr.s_addr));
    }
    if (a->sa_family != AF_INET6)
        return false;
    memcpy(&v6, a, sizeof v6);
    return is_public6(v6.sin6_addr.s6_addr);
}
