/* A button that opens a list of actions or choices. Arrow keys move, Esc closes and gives the focus back. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Icon, type IconName } from './icons.tsx';

export interface MenuItem {
  label: string;
  detail?: string;
  icon?: IconName;
  danger?: boolean;
  /** For choices: whether this one is in force. */
  checked?: boolean;
  run: () => void;
}

interface MenuProps {
  label: string;
  items: MenuItem[];
  class: string;
  disabled?: boolean;
  children: ComponentChildren;
}

const GAP_PX = 4;
const MARGIN_PX = 8;

/** Below the button, or above it where there is more room; always inside the window. No scrolling box cuts it off. */
function place(list: HTMLElement, button: HTMLElement): void {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = at.bottom + GAP_PX;
  const fits = below + height <= innerHeight - MARGIN_PX;
  const top = fits ? below : Math.max(MARGIN_PX, at.top - GAP_PX - height);
  const left = Math.min(Math.max(MARGIN_PX, at.left), innerWidth - MARGIN_PX - width);
  list.style.top = `${top}px`;
  list.style.left = `${left}px`;
}

export function Menu({ label, items, class: buttonClass, disabled, children }: MenuProps): JSX.Element {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const choice = items.some((item) => item.checked !== undefined);

  const entries = (): HTMLElement[] => [...(list.current?.querySelectorAll<HTMLElement>('.menu-item') ?? [])];
  const close = (refocus: boolean): void => {
    setOpen(false);
    if (refocus) button.current?.focus();
  };

  useLayoutEffect(() => {
    if (open && list.current && button.current) place(list.current, button.current);
  }, [open]);
  useEffect(() => {
    if (!open) return;
    const all = entries();
    (all.find((e) => e.getAttribute('aria-checked') === 'true') ?? all[0])?.focus({ preventScroll: true });
    const outside = (e: PointerEvent): void => {
      const target = e.target as Node;
      if (!list.current?.contains(target) && !button.current?.contains(target)) close(false);
    };
    const moved = (e: Event): void => {
      if (e.target === window || (e.target as Node).contains(button.current)) close(false);
    };
    addEventListener('pointerdown', outside);
    addEventListener('resize', moved);
    addEventListener('scroll', moved, true);
    return () => {
      removeEventListener('pointerdown', outside);
      removeEventListener('resize', moved);
      removeEventListener('scroll', moved, true);
    };
  }, [open]);

  const onKey = (e: KeyboardEvent): void => {
    const all = entries();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
    const to = moves[e.key];
    if (to !== undefined) {
      e.preventDefault();
      all[(to + all.length) % all.length]?.focus();
    } else if (e.key === 'Escape') {
      e.preventDefault();
      e.stopPropagation();
      close(true);
    } else if (e.key === 'Tab') {
      close(false);
    }
  };

  return (
    <div class="menu">
      <button
        ref={button}
        type="button"
        class={buttonClass}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-label={label}
        title={label}
        disabled={disabled}
        onClick={() => setOpen(!open)}
        onKeyDown={(e) => {
          if (e.key === 'ArrowDown' && !open) {
            e.preventDefault();
            setOpen(true);
          }
        }}
      >
        {children}
      </button>
      {open && (
        <div ref={list} class="menu-list" role="menu" aria-label={label} onKeyDown={onKey}>
          {items.map((item) => (
            <button
              key={item.label}
              type="button"
              class={`menu-item ${item.danger ? 'danger' : ''}`}
              role={choice ? 'menuitemradio' : 'menuitem'}
              aria-checked={choice ? item.checked === true : undefined}
              tabIndex={-1}
              onClick={() => {
                close(true);
                item.run();
              }}
            >
              {item.icon && <Icon name={item.icon} />}
              <span>
                {item.label}
                {item.detail && <small>{item.detail}</small>}
              </span>
              {item.checked && <Icon name="check" />}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
