-- shown_for: the hosts that a certificate is presented for, as a JSON list: of several for a host only one is
ALTER TABLE certificate ADD COLUMN shown_for TEXT NOT NULL DEFAULT '[]';
