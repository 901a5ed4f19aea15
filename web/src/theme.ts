/* Runs before the first paint, so that a dark page never flashes white. Its own small file: the policy forbids inline scripts. */
const theme = localStorage.getItem('parley.theme');
if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme;
