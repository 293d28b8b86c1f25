-- leaving: unix seconds since when a replica is shown as about to be taken down, so that nobody sends it anything new
ALTER TABLE assignment ADD COLUMN leaving INTEGER;
