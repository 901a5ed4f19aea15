/* Checksums. Sources: ISO/IEC 7812 (cards), ISO 13616 (IBAN), and the rules that each country's
 * authority publishes for its numbers, named beside each. */
#include "safety/pii_numbers.h"

static int digit(char c) {
    return c - '0';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool all_digits(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return s.n > 0;
}

/* Matches a form: '9' a digit, 'A' a letter, 'X' either; anything else itself. */
static bool has_form(struct str s, const char *form) {
    size_t i = 0;
    for (; form[i] && i < s.n; i++) {
        bool d = is_digit(s.p[i]), l = s.p[i] >= 'A' && s.p[i] <= 'Z';
        bool ok = form[i] == '9'   ? d
                  : form[i] == 'A' ? l
                  : form[i] == 'X' ? d || l
                                   : s.p[i] == form[i];
        if (!ok)
            return false;
    }
    return i == s.n && !form[i];
}

static int weighted(const char *d, const int *weights, size_t n) {
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += digit(d[i]) * weights[i];
    return sum;
}

static int64_t value_of(const char *d, size_t n) {
    int64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + digit(d[i]);
    return v;
}

static bool is_date(int year2, int month, int day) {
    return year2 >= 0 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool same_digit(struct str s) {
    for (size_t i = 1; i < s.n; i++)
        if (s.p[i] != s.p[0])
            return false;
    return true;
}

bool number_luhn(const char *digits, size_t n) {
    int sum = 0;
    for (size_t i = 0; i < n; i++) {
        int d = digit(digits[n - 1 - i]);
        if (i % 2 == 1 && (d *= 2) > 9)
            d -= 9;
        sum += d;
    }
    return n > 1 && sum % 10 == 0;
}

bool number_is_card(const char *d, size_t n) {
    static const struct {
        int from, to, digits;
        size_t min, max;
    } networks[] = {{4, 4, 1, 13, 19},       {51, 55, 2, 16, 16},   {2221, 2720, 4, 16, 16},
                    {34, 34, 2, 15, 15},     {37, 37, 2, 15, 15},   {6011, 6011, 4, 16, 19},
                    {644, 659, 3, 16, 19},   {622, 622, 3, 16, 19}, {300, 305, 3, 14, 16},
                    {36, 36, 2, 14, 19},     {38, 39, 2, 16, 19},   {3528, 3589, 4, 16, 19},
                    {50, 50, 2, 12, 19},     {56, 58, 2, 12, 19},   {6304, 6304, 4, 12, 19},
                    {6759, 6763, 4, 12, 19}, {62, 62, 2, 16, 19},   {1800, 1800, 4, 15, 15},
                    {2131, 2131, 4, 15, 15}};
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        int64_t prefix = n > 4 ? value_of(d, (size_t)networks[i].digits) : -1;
        if (prefix >= networks[i].from && prefix <= networks[i].to && n >= networks[i].min &&
            n <= networks[i].max)
            return number_luhn(d, n);
    }
    return false;
}

bool number_is_iban(const char *p, size_t n) {
    static const char lengths[] =
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18"
        "FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20"
        "LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24"
        "SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20";
    bool known = false;
    for (size_t i = 0; i + 3 < sizeof lengths; i += 4)
        if (n > 4 && memcmp(p, lengths + i, 2) == 0)
            known = (size_t)value_of(lengths + i + 2, 2) == n;
    if (!known)
        return false;
    int mod = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[(i + 4) % n];
        mod = is_digit(c) ? (mod * 10 + digit(c)) % 97 : (mod * 100 + c - 'A' + 10) % 97;
    }
    return mod == 1;
}

/* ---- national numbers: the token is upper case, digits and letters only ---- */

static bool es_dni(struct str t) { /* Spain: BOE, letter by the number modulo 23 */
    char d[8];
    if (!has_form(t, "99999999A") && !has_form(t, "A9999999A"))
        return false;
    memcpy(d, t.p, 8);
    if (!is_digit(d[0])) {
        if (d[0] < 'X' || d[0] > 'Z')
            return false;
        d[0] = (char)('0' + d[0] - 'X');
    }
    return t.p[8] == "TRWAGMYFPDXBNJZSQVHLCKE"[value_of(d, 8) % 23];
}

static bool fr_nir(struct str t) { /* France: INSEE, key = 97 - number modulo 97 */
    return t.n == 15 && all_digits(t) && (t.p[0] == '1' || t.p[0] == '2') &&
           is_date(0, (int)value_of(t.p + 3, 2), 1) &&
           97 - value_of(t.p, 13) % 97 == value_of(t.p + 13, 2);
}

static bool it_cf(struct str t) { /* Italy: codice fiscale, DM 23 December 1976 */
    static const int odd[36] = {1,  0, 5, 7,  9,  13, 15, 17, 19, 21, 1,  0,
                                5,  7, 9, 13, 15, 17, 19, 21, 2,  4,  18, 20,
                                11, 3, 6, 8,  12, 14, 16, 10, 22, 25, 24, 23};
    int sum = 0;
    if (!has_form(t, "AAAAAA99A99A999A"))
        return false;
    for (size_t i = 0; i < 15; i++) {
        int v = is_digit(t.p[i]) ? digit(t.p[i]) : t.p[i] - 'A';
        sum += i % 2 == 0 ? odd[is_digit(t.p[i]) ? v : v + 10] : v;
    }
    return t.p[15] == 'A' + sum % 26;
}

static bool ch_ahv(struct str t) { /* Switzerland: 756 and an EAN-13 check digit */
    static const int w[] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1};
    return t.n == 13 && all_digits(t) && memcmp(t.p, "756", 3) == 0 &&
           weighted(t.p, w, 13) % 10 == 0;
}

static bool cn_id(struct str t) { /* China: GB 11643-1999, ISO 7064 mod 11-2 */
    static const int w[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
    if (!has_form(t, "99999999999999999X"))
        return false;
    return is_date(0, (int)value_of(t.p + 10, 2), (int)value_of(t.p + 12, 2)) &&
           t.p[17] == "10X98765432"[weighted(t.p, w, 17) % 11];
}

static bool nl_bsn(struct str t) { /* Netherlands: eleven test */
    static const int w[] = {9, 8, 7, 6, 5, 4, 3, 2, -1};
    return t.n == 9 && all_digits(t) && !same_digit(t) && weighted(t.p, w, 9) % 11 == 0;
}

static bool pl_pesel(struct str t) {
    static const int w[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};
    return t.n == 11 && all_digits(t) && weighted(t.p, w, 11) % 10 == 0;
}

static bool br_cpf(struct str t) {
    static const int a[] = {10, 9, 8, 7, 6, 5, 4, 3, 2}, b[] = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2};
    if (t.n != 11 || !all_digits(t) || same_digit(t))
        return false;
    return weighted(t.p, a, 9) * 10 % 11 % 10 == digit(t.p[9]) &&
           weighted(t.p, b, 10) * 10 % 11 % 10 == digit(t.p[10]);
}

static bool de_idnr(struct str t) { /* Germany: tax number, ISO 7064 mod 11,10 */
    int product = 10;
    if (t.n != 11 || !all_digits(t) || t.p[0] == '0')
        return false;
    for (size_t i = 0; i < 10; i++) {
        int sum = (digit(t.p[i]) + product) % 10;
        product = (sum ? sum : 10) * 2 % 11;
    }
    return (11 - product) % 10 == digit(t.p[10]);
}

static bool uk_nhs(struct str t) {
    static const int w[] = {10, 9, 8, 7, 6, 5, 4, 3, 2};
    return t.n == 10 && all_digits(t) && (11 - weighted(t.p, w, 9) % 11) % 11 == digit(t.p[9]);
}

static bool uk_nino(struct str t) { /* HMRC NIM39110: no check digit, but few prefixes */
    return has_form(t, "AA999999A") && !strchr("DFIQUV", t.p[0]) && !strchr("DFIOQUV", t.p[1]) &&
           t.p[8] <= 'D';
}

static bool se_pnr(struct str t) { /* Sweden: Luhn over YYMMDDNNNN */
    struct str s = t.n == 12 ? str_sub(t, 2, 10) : t;
    return s.n == 10 && all_digits(s) && number_luhn(s.p, 10) &&
           is_date(0, (int)value_of(s.p + 2, 2), (int)value_of(s.p + 4, 2) % 60);
}

static bool fi_hetu(struct str t) { /* Finland: the nine digits modulo 31 */
    char d[9];
    if (!has_form(t, "999999999X"))
        return false;
    memcpy(d, t.p, 9);
    return is_date(0, (int)value_of(d + 2, 2), (int)value_of(d, 2)) &&
           t.p[9] == "0123456789ABCDEFHJKLMNPRSTUVWXY"[value_of(d, 9) % 31];
}

static bool be_nn(struct str t) { /* Belgium: 97 - number modulo 97, from 2000 with a 2 in front */
    if (t.n != 11 || !all_digits(t))
        return false;
    int64_t v = value_of(t.p, 9), check = value_of(t.p + 9, 2);
    return 97 - v % 97 == check || 97 - (2000000000 + v) % 97 == check;
}

static bool in_aadhaar(struct str t) { /* India: Verhoeff 1969 */
    static const char d[10][11] = {"0123456789", "1234067895", "2340178956", "3401289567",
                                   "4012395678", "5987604321", "6598710432", "7659821043",
                                   "8765932104", "9876543210"};
    static const char p[8][11] = {"0123456789", "1576283094", "5803796142", "8916043527",
                                  "9453126870", "4286573901", "2793806415", "7046913258"};
    int c = 0;
    if (t.n != 12 || !all_digits(t) || t.p[0] < '2')
        return false;
    for (size_t i = 0; i < 12; i++)
        c = digit(d[c][digit(p[i % 8][digit(t.p[11 - i])])]);
    return c == 0;
}

static bool in_pan(struct str t) {
    return has_form(t, "AAAAA9999A") && strchr("ABCFGHJLPT", t.p[3]) != NULL;
}

static bool luhn9(struct str t) { /* Canada: SIN */
    return t.n == 9 && all_digits(t) && !same_digit(t) && number_luhn(t.p, 9);
}

static bool au_tfn(struct str t) {
    static const int w[] = {1, 4, 3, 7, 5, 8, 6, 9, 10};
    return t.n == 9 && all_digits(t) && !same_digit(t) && weighted(t.p, w, 9) % 11 == 0;
}

static bool za_id(struct str t) {
    return t.n == 13 && all_digits(t) && number_luhn(t.p, 13) &&
           is_date(0, (int)value_of(t.p + 2, 2), (int)value_of(t.p + 4, 2));
}

static bool passport(struct str t) {
    size_t digits = 0;
    for (size_t i = 0; i < t.n; i++)
        digits += is_digit(t.p[i]);
    return t.n >= 7 && t.n <= 10 && digits >= 5 && t.n - digits <= 3;
}

#define CONTEXT_ONLY 1 /* counts only beside one of its words */
#define FORMATTED    2 /* or when it stands in its usual form */

static const struct {
    const char *name;
    bool (*check)(struct str token);
    int flags;
    const char *form; /* FORMATTED: the raw text's */
    const char *words;
} nationals[] = {
    {"es_dni", es_dni, 0, NULL, NULL},
    {"fr_nir", fr_nir, 0, NULL, NULL},
    {"it_codice_fiscale", it_cf, 0, NULL, NULL},
    {"ch_ahv", ch_ahv, 0, NULL, NULL},
    {"cn_resident_id", cn_id, 0, NULL, NULL},
    {"br_cpf", br_cpf, CONTEXT_ONLY | FORMATTED, "999.999.999-99", "cpf"},
    {"be_national_number", be_nn, CONTEXT_ONLY | FORMATTED, "99.99.99-999.99",
     "rijksregister|national"},
    {"se_personnummer", se_pnr, CONTEXT_ONLY | FORMATTED, "999999-9999", "personnummer|personal"},
    {"fi_hetu", fi_hetu, CONTEXT_ONLY | FORMATTED, "999999-999X", "hetu|henkil"},
    {"uk_nino", uk_nino, CONTEXT_ONLY | FORMATTED, "AA 99 99 99 A", "insurance|nino|ni number"},
    {"nl_bsn", nl_bsn, CONTEXT_ONLY, NULL, "bsn|burgerservice|sofi"},
    {"pl_pesel", pl_pesel, CONTEXT_ONLY, NULL, "pesel"},
    {"de_tax_id", de_idnr, CONTEXT_ONLY, NULL, "steuer|tax id|idnr|identifikationsnummer"},
    {"uk_nhs", uk_nhs, CONTEXT_ONLY, NULL, "nhs"},
    {"in_aadhaar", in_aadhaar, CONTEXT_ONLY, NULL, "aadhaar|aadhar|uidai"},
    {"in_pan", in_pan, CONTEXT_ONLY, NULL, "pan|permanent account"},
    {"ca_sin", luhn9, CONTEXT_ONLY, NULL, "sin|social insurance"},
    {"au_tfn", au_tfn, CONTEXT_ONLY, NULL, "tfn|tax file"},
    {"za_id", za_id, CONTEXT_ONLY, NULL, "id number|identity|south african"},
    {"passport", passport, CONTEXT_ONLY, NULL, "passport"},
};

const char *number_national(struct str token, struct str raw,
                            bool (*has_word)(const void *ctx, const char *words), const void *ctx) {
    if (token.n < 7 || token.n > 18)
        return NULL;
    for (size_t i = 0; i < sizeof nationals / sizeof *nationals; i++) {
        if (!nationals[i].check(token))
            continue;
        bool formed = (nationals[i].flags & FORMATTED) && has_form(raw, nationals[i].form);
        if (!(nationals[i].flags & CONTEXT_ONLY) || formed || has_word(ctx, nationals[i].words))
            return nationals[i].name;
    }
    return NULL;
}
