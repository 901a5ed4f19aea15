/* A button that opens a list of actions or choices. Arrow keys move, Esc closes and gives the focus back. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
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
  /** Where the list stands: above or below the button, at its start or end. */
  place?: string;
  disabled?: boolean;
  children: ComponentChildren;
}

export function Menu({ label, items, class: buttonClass, place = 'below end', disabled, children }: MenuProps): JSX.Element {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const choice = items.some((item) => item.checked !== undefined);

  const entries = (): HTMLElement[] => [...(list.current?.querySelectorAll<HTMLElement>('.menu-item') ?? [])];
  const close = (refocus: boolean): void => {
    setOpen(false);
    if (refocus) button.current?.focus();
  };

  useEffect(() => {
    if (!open) return;
    const all = entries();
    (all.find((e) => e.getAttribute('aria-checked') === 'true') ?? all[0])?.focus();
    const outside = (e: PointerEvent): void => {
      const target = e.target as Node;
      if (!list.current?.contains(target) && !button.current?.contains(target)) close(false);
    };
    addEventListener('pointerdown', outside);
    return () => removeEventListener('pointerdown', outside);
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
        <div ref={list} class={`menu-list ${place}`} role="menu" aria-label={label} onKeyDown={onKey}>
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
