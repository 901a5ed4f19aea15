/* The rules for user names, addresses and passwords. */
#include "auth/auth.h"

static bool username_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

enum err auth_check_username(struct str s, struct errinfo *ei) {
    bool good = s.n >= AUTH_USERNAME_MIN && s.n <= AUTH_USERNAME_MAX;
    for (size_t i = 0; good && i < s.n; i++)
        good = username_letter(s.p[i]);
    if (good)
        return ERR_OK;
    return err_param(ei, ERR_INVALID, "username",
                     "a user name has %d to %d letters, digits, '.', '_' or '-'", AUTH_USERNAME_MIN,
                     AUTH_USERNAME_MAX);
}

/* Whether mail arrives can only be found by sending some; this refuses what cannot be an address
 * and what could break a header. */
enum err auth_check_email(struct str s, struct errinfo *ei) {
    size_t ats = 0, at = 0;
    bool good = s.n >= 3 && s.n <= AUTH_EMAIL_MAX;
    for (size_t i = 0; good && i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        good = c > ' ' && c != 0x7f && c != ',' && c != ';' && c != '<' && c != '>';
        if (c == '@') {
            ats++;
            at = i;
        }
    }
    if (good && ats == 1 && at > 0 && at + 1 < s.n)
        return ERR_OK;
    return err_param(ei, ERR_INVALID, "email",
                     "an e-mail address looks like name@example.org, without spaces, at most %d "
                     "bytes",
                     AUTH_EMAIL_MAX);
}

enum err auth_check_password(struct str s, struct errinfo *ei) {
    if (s.n < AUTH_PASSWORD_MIN || s.n > AUTH_PASSWORD_MAX)
        return err_param(ei, ERR_INVALID, "password", "a password has %d to %d bytes",
                         AUTH_PASSWORD_MIN, AUTH_PASSWORD_MAX);
    if (memchr(s.p, 0, s.n))
        return err_param(ei, ERR_INVALID, "password", "a password may not contain NUL");
    return ERR_OK;
}
