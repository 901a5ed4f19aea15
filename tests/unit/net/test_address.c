/* Which addresses are of the open internet, in every notation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "net/address.h"

static bool is_public(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (strchr(text, ':')) {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        return address_is_public((struct sockaddr *)&v6);
    }
    assert_int_equal(inet_pton(AF_INET, text, &v4.sin_addr), 1);
    return address_is_public((struct sockaddr *)&v4);
}

static void address_inside_is_not_public(void **state) {
    (void)state;
    static const char *const inside[] = {"0.0.0.0",
                                         "0.1.2.3",
                                         "10.0.0.1",
                                         "10.255.255.255",
                                         "100.64.0.1",
                                         "100.127.255.255",
                                         "127.0.0.1",
                                         "127.255.0.3",
                                         "169.254.169.254",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.0.0.8",
                                         "192.0.2.1",
                                         "192.88.99.1",
                                         "192.168.1.1",
                                         "198.18.0.1",
                                         "198.19.255.255",
                                         "198.51.100.7",
                                         "203.0.113.9",
                                         "224.0.0.1",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "::",
                                         "::1",
                                         "::127.0.0.1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:10.0.0.1",
                                         "::ffff:0:127.0.0.1",
                                         "64:ff9b::7f00:1",
                                         "64:ff9b:1::1",
                                         "2002:7f00:1::1",
                                         "2002:c0a8:101::",
                                         "2001::1",
                                         "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                                         "2001:db8::1",
                                         "3fff::1",
                                         "fc00::1",
                                         "fd12::1",
                                         "fe80::1",
                                         "ff02::1",
                                         "100::1",
                                         "5f00::1"};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++)
        if (is_public(inside[i]))
            fail_msg("%s", inside[i]);
}

static void address_of_the_internet_is_public(void **state) {
    (void)state;
    static const char *const outside[] = {
        "1.1.1.1",         "9.255.255.255", "11.0.0.0",       "100.63.255.255",   "100.128.0.0",
        "126.255.255.255", "128.0.0.1",     "169.253.0.1",    "172.15.255.255",   "172.32.0.0",
        "192.0.1.1",       "192.167.1.1",   "198.17.0.1",     "198.20.0.1",       "223.255.255.255",
        "2606:4700::1111", "2a00:1450::1",  "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:200::1",     "2001:470::1"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        if (!is_public(outside[i]))
            fail_msg("%s", outside[i]);
}

static void address_of_other_families_is_not_public(void **state) {
    (void)state;
    struct sockaddr a = {.sa_family = AF_UNIX};
    assert_false(address_is_public(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_inside_is_not_public),
        cmocka_unit_test(address_of_the_internet_is_public),
        cmocka_unit_test(address_of_other_families_is_not_public),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
